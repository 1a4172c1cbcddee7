"""``astroclip benchmark``: the paper's tables for any model and data."""

import json
from importlib.util import find_spec
from pathlib import Path

import click

from astroclip_astro.cli.names import Registered
from astroclip_astro.cli.printing import printing
from astroclip_astro.errors import InputError

__all__ = ["benchmark"]

# What the extra [benchmark] brings, by the name it is imported by.
_NEEDED = {
    "lightning": "lightning",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
}


@click.group()
def benchmark():
    """Measure how good a model is.

    Example: astroclip benchmark paper --data mocks:mocks --out tables
    """


@benchmark.command()
@click.option(
    "--data",
    required=True,
    metavar="KIND:PATH",
    help="mocks, published, multimodal_universe or folder, and where it is; a path alone is mocks.",
)
@click.option(
    "--properties",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table with a column targetid that published pairs are joined with.",
)
@click.option(
    "--survey",
    type=Registered("survey"),
    help="Of a folder: which registered survey its files are of.",
)
@click.option(
    "--model",
    type=Registered("model", files=True),
    help="Name or file; default: the bundled model.",
)
@click.option(
    "--unaligned",
    multiple=True,
    type=Registered("model", files=True),
    help="Name or file of an encoder before alignment; may come again.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps, cuda:1 …")
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of volunteers' votes with a column object_id.",
)
@click.option(
    "--by",
    type=click.Choice(["object", "sky"]),
    default="object",
    show_default=True,
    help="How test objects are chosen.",
)
@click.option("-n", type=click.IntRange(min=1), help="Only the first N objects.")
@click.option("-k", type=click.IntRange(min=1), default=64, show_default=True, help="Neighbours.")
@click.option(
    "--pool", type=click.IntRange(min=2), default=1000, show_default=True, help="Of the retrieval."
)
@click.option("--baselines/--no-baselines", default=True, help="Train supervised networks as well.")
@click.option(
    "--max-steps",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Of each network.",
)
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Of each network.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of tables and figures.",
)
@printing
def paper(
    data,
    properties,
    survey,
    model,
    unaligned,
    device,
    labels,
    by,
    n,
    k,
    pool,
    baselines,
    max_steps,
    max_minutes,
    seed,
    out,
    report,
):
    """Print the paper's tables: zero-shot and few-shot properties, morphology, retrieval.

    Example: astroclip benchmark paper --data mocks:mocks --out tables
    """
    missing = [package for name, package in _NEEDED.items() if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the benchmark needs {', '.join(missing)}: "
            "python -m pip install 'astroclip_astro[benchmark]'"
        )
    import astroclip_astro as aa
    from astroclip_astro.training.benchmark.paper import paper_benchmark

    model = aa.load_model(model, device=device)
    unaligned = [aa.load_model(one, device=device) for one in unaligned]
    source = _opened(data, model, properties=properties, survey=survey)
    tables = paper_benchmark(
        source,
        model,
        out,
        unaligned=unaligned,
        labels=labels,
        by=by,
        n=n,
        k=k,
        pool=pool,
        baselines=baselines,
        max_steps=max_steps,
        max_minutes=max_minutes,
        seed=seed,
    )
    report(
        {"output": out, **json.loads((out / "benchmark.json").read_text(encoding="utf-8"))},
        [str(tables), f"\ntables and figures → {out}"],
    )


def _opened(data, model, **options):
    """The source that ``--data`` names, with what it has of the model's modalities."""
    from astroclip_astro.training.sources import KINDS, open_source

    kind, colon, path = data.partition(":")
    if kind not in KINDS and Path(data).exists():
        kind, path = "mocks", data
    elif not colon:
        raise click.BadParameter(
            f"{data!r}: expected KIND:PATH, or the path of a mock survey", param_hint="--data"
        )
    options = {name: value for name, value in options.items() if value is not None}
    source = open_source(kind, path, **options)
    grids = {name: grid for name, grid in model.preprocessing.items() if name in source.modalities}
    if not grids:
        raise InputError(
            f"model {model.name!r} embeds {' and '.join(model.modalities)}, "
            f"{source!r} has nothing of it"
        )
    return open_source(kind, path, preprocessing=grids, **options)
