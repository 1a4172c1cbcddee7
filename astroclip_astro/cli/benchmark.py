"""``astroclip benchmark``: the paper's tables for any model and data."""

from pathlib import Path

import click

from astroclip_astro.errors import InputError

__all__ = ["benchmark"]


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
    help="mocks, published, multimodal_universe or folder, and where it is.",
)
@click.option("--model", help="Name or file; default: the bundled model.")
@click.option("--unaligned", multiple=True, help="Encoder before alignment; may come again.")
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
def paper(
    data, model, unaligned, labels, by, n, k, pool, baselines, max_steps, max_minutes, seed, out
):
    """Print the paper's tables: zero-shot and few-shot properties, morphology, retrieval.

    Example: astroclip benchmark paper --data mocks:mocks --out tables
    """
    kind, colon, path = data.partition(":")
    if not colon:
        raise click.BadParameter(f"{data!r}: expected KIND:PATH", param_hint="--data")
    try:
        from astroclip_astro.training.benchmark.paper import paper_benchmark
    except ImportError as error:
        raise InputError(
            f"the benchmark needs {error.name}: python -m pip install 'astroclip_astro[benchmark]'"
        ) from error
    import astroclip_astro as aa
    from astroclip_astro.training.sources import open_source

    model = aa.load_model(model)
    source = open_source(kind, path, preprocessing=model.preprocessing)
    report = paper_benchmark(
        source,
        model,
        out,
        unaligned=[aa.load_model(one) for one in unaligned],
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
    click.echo(str(report))
    click.echo(f"\ntables and figures → {out}")
