"""``astroclip predict``: files in, redshifts and other answers out."""

from pathlib import Path

import click

from astroclip_astro.cli.names import Registered
from astroclip_astro.cli.printing import printing, report_table

__all__ = ["predict"]


@click.command()
@click.argument("task", type=Registered("task", files=True))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write: .fits, .vot, .ecsv or .parquet; default: print.",
)
@click.option("--samples", type=click.IntRange(min=0), default=0, help="Samples for each object.")
@click.option(
    "--model",
    type=Registered("model", files=True),
    help="Name, checkpoint or .safetensors file; default: the bundled model.",
)
@click.option(
    "--survey", type=Registered("survey"), help="How to read the files; default: recognise each."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps, cuda:1 …")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@printing
def predict(task, files, output, samples, model, survey, device, overwrite, report):
    """Predict TASK for the spectra and cutouts in FILES.

    TASK is a file with a head of your own, or one of those that "astroclip tasks" calls fitted.
    Every object of every file becomes one row, in the order given.

    Example: astroclip predict head.safetensors spec-*.fits -o redshifts.ecsv
    """
    from astroclip_astro.output import check_target
    from astroclip_astro.table_files import SUFFIXES

    # Checked before the work, so that it is not lost to a typing error.
    if output is not None:
        check_target(output, SUFFIXES, overwrite=overwrite)

    import astroclip_astro as aa

    table = aa.predict(
        list(files),
        task=task,
        samples=samples,
        model=model,
        survey=survey,
        device=device,
        errors="flag",
    )
    for column in table.itercols():
        if column.dtype.kind == "f":
            column.info.format = ".5g"  # no more digits than anyone reads, where it is printed
    report_table(table, output, report)
