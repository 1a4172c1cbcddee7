"""``astroclip embed``: files in, a table of embeddings out."""

from collections import Counter
from pathlib import Path

import click

from astroclip_astro.cli.names import Registered
from astroclip_astro.cli.printing import printing
from astroclip_astro.errors import InputError

__all__ = ["embed"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=True, path_type=Path),
    help="Where to write: .parquet, .nc, .zarr, .fits, .vot or .ecsv.",
)
@click.option(
    "--model",
    type=Registered("model", files=True),
    help="Name, checkpoint or .safetensors file; default: the bundled model.",
)
@click.option(
    "--survey", type=Registered("survey"), help="How to read the files; default: recognise each."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps, cuda:1 …")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="Precision of the network; auto: bfloat16 for large models where it is faster.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Objects per forward pass.")
@click.option(
    "--errors",
    type=click.Choice(["flag", "raise"]),
    default="flag",
    show_default=True,
    help="Keep objects that cannot be embedded as NaN rows, or stop at the first.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@printing
def embed(files, output, model, survey, device, dtype, batch_size, errors, overwrite, report):
    """Embed spectra and cutouts from FILES.

    Every object of every file becomes one row, in the order given.

    Example: astroclip embed spec-*.fits -o embeddings.parquet
    """
    # Checked before the work, so that an hour of embedding is not lost to a typing error.
    from astroclip_astro.embeddings import check_output

    check_output(output, overwrite=overwrite)

    import astroclip_astro as aa

    embeddings = aa.embed(
        list(files),
        model=model,
        survey=survey,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        errors=errors,
    )
    good = int(embeddings.astroclip.valid.sum())
    if not good:
        raise InputError(f"none of the {len(embeddings)} objects could be embedded; see the log")
    embeddings.astroclip.save(output, overwrite=overwrite)
    flagged = Counter(flag for flags in embeddings.astroclip.flags for flag in flags)
    flags = dict(flagged.most_common())
    report(
        {"output": output, "objects": len(embeddings), "embedded": good, "flags": flags},
        [
            f"{good} of {len(embeddings)} objects embedded → {output}",
            *(f"{count:8d}  {flag}" for flag, count in flags.items()),
        ],
    )
