"""The ``astroclip`` command."""

import logging
import os
import sys
import traceback
from importlib import import_module

import click

from astroclip_astro.cli.completion import VARIABLE
from astroclip_astro.errors import AstroclipError
from astroclip_astro.plugins import get_manager

__all__ = ["main"]

# Where each built-in command is; it is imported only when it runs or when its help is shown.
_COMMANDS = {
    "benchmark": "astroclip_astro.cli.benchmark:benchmark",
    "catalog": "astroclip_astro.cli.catalog:catalog",
    "completion": "astroclip_astro.cli.completion:completion",
    "demo": "astroclip_astro.cli.demo:demo",
    "embed": "astroclip_astro.cli.embed:embed",
    "explore": "astroclip_astro.cli.explore:explore",
    "export": "astroclip_astro.cli.export:export",
    "models": "astroclip_astro.cli.listings:models",
    "plugins": "astroclip_astro.cli.plugins:plugins",
    "predict": "astroclip_astro.cli.predict:predict",
    "surveys": "astroclip_astro.cli.listings:surveys",
    "tasks": "astroclip_astro.cli.listings:tasks",
    "train": "astroclip_astro.cli.train:train",
}


class _Group(click.Group):
    """Imports built-in commands, and asks plugins for theirs, only when needed."""

    def list_commands(self, ctx):
        return sorted({*_COMMANDS, *get_manager().commands(_COMMANDS)})

    def get_command(self, ctx, name):
        if name in _COMMANDS:
            module, _, attribute = _COMMANDS[name].partition(":")
            return getattr(import_module(module), attribute)
        return get_manager().commands(_COMMANDS).get(name)

    def main(self, *args, **kwargs):
        if VARIABLE in os.environ:
            logging.disable()  # the Tab key is no moment for what a plugin does wrong
        return super().main(*args, **kwargs)

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise  # click knows what to do
        except Exception as error:
            if ctx.params["debug"]:
                raise
            text = str(error)
            if not isinstance(error, AstroclipError | OSError) or not text:
                text = f"{type(error).__name__}: {text} (astroclip --debug … shows where)"
            _end(ctx, text, 1)
        except KeyboardInterrupt as error:
            _interrupted(ctx, str(error))
        except SystemExit as error:  # into which Lightning turns an interrupt
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            _interrupted(ctx)


def _interrupted(ctx, text=""):
    if ctx.params["debug"]:
        traceback.print_exc()
    _end(ctx, text or "interrupted", 130)  # as shells count it: 128, and the number of the signal


def _end(ctx, text, code):
    click.echo(f"astroclip: {' '.join(text.split())}", err=True)
    ctx.exit(code)


@click.group("astroclip", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="astroclip_astro")
@click.option("-v", "--verbose", is_flag=True, help="Say what is being done.")
@click.option("-q", "--quiet", is_flag=True, help="Say errors only.")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def main(verbose, quiet, debug):
    """Embed galaxy images and spectra in one space with AstroCLIP.

    Example: astroclip embed spec-*.fits -o embeddings.parquet
    """
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet exclude each other")
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s: %(message)s")
