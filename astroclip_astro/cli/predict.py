"""``astroclip predict``: files in, redshifts and other answers out."""

from pathlib import Path

import click

from astroclip_astro.errors import InputError

__all__ = ["predict"]

_SUFFIXES = (".ecsv", ".fits", ".parquet")


@click.command()
@click.argument("task")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Where to write: {', '.join(_SUFFIXES)}; default: print.",
)
@click.option("--samples", type=click.IntRange(min=0), default=0, help="Samples for each object.")
@click.option("--model", help="Name, checkpoint or .safetensors file; default: the bundled model.")
@click.option("--survey", help="How to read the files; default: recognise each.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps, cuda:1 …")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def predict(task, files, output, samples, model, survey, device, overwrite):
    """Predict TASK for the spectra and cutouts in FILES.

    TASK is a file with a head of your own, or one of those that "astroclip tasks" calls fitted.
    Every object of every file becomes one row, in the order given.

    Example: astroclip predict head.safetensors spec-*.fits -o redshifts.ecsv
    """
    # Checked before the work, so that it is not lost to a typing error.
    if output is not None:
        if output.suffix not in _SUFFIXES:
            raise InputError(f"{output}: expected one of {', '.join(_SUFFIXES)}")
        if not output.parent.is_dir():
            raise InputError("its folder does not exist", object_id=str(output))
        if output.exists() and not overwrite:
            raise FileExistsError(f"{output} exists: choose another name, or --overwrite it")

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
    if output is None:
        for column in table.itercols():
            if column.dtype.kind == "f":
                column.info.format = ".5g"
        click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)))
    else:
        if output.suffix == ".fits":
            table = _for_fits(table)
        table.write(output, overwrite=overwrite)
        good = sum(reason == "" for reason in table["reason"])
        click.echo(f"{good} of {len(table)} objects → {output}")


def _for_fits(table):
    """The same where keywords have eight characters and units no logarithms."""
    from astropy.units import FunctionUnitBase

    table = table.copy()
    table.meta = {"comments": [f"{name} = {text}" for name, text in table.meta.items()]}
    for name in table.colnames:
        unit = table[name].info.unit
        if isinstance(unit, FunctionUnitBase):
            table[name] = table[name].value
            table[name].info.unit = None  # a masked column hands its own down
            table[name].info.description = f"in {unit}"
    return table
