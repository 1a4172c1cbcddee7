"""``astroclip train``: pre-training and alignment from a file of settings."""

from pathlib import Path

import click

from astroclip_astro.cli.printing import printing
from astroclip_astro.errors import InputError

__all__ = ["train"]


@click.command()
@click.argument("kind", type=click.Choice(["specformer", "image", "align"]))
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run; an interrupted one goes on.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@printing
def train(kind, config, out, quiet, report):
    """Train a spectrum encoder, an image encoder, or their alignment.

    CONFIG is a YAML file, or the name of one that comes with the package: laptop, gpu or paper.

    Example: astroclip train align laptop -o run
    """
    try:
        from astroclip_astro.training.config import read_config
        from astroclip_astro.training.trainer import train as run
    except ImportError as error:
        raise InputError(
            f"training needs {error.name}: python -m pip install 'astroclip_astro[train]'"
        ) from error
    path = run(kind, read_config(config, kind), out, progress=not quiet)
    report({"output": path}, f"trained → {path}")
