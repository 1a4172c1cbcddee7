"""``astroclip plugins``: what is installed, a new one, and whether one does what it should."""

import json
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from astroclip_astro.plugins import get_manager
from astroclip_astro.plugins.template import KINDS, new_plugin

__all__ = ["plugins"]


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, tracebacks included.")
@click.pass_context
def plugins(ctx, as_json):
    """List plugins, what they register, and what is wrong with them.

    Example: astroclip plugins --json
    """
    if ctx.invoked_subcommand is not None:
        if as_json:
            known = plugins.commands[ctx.invoked_subcommand].params
            if any(option.name == "as_json" for option in known):
                raise click.UsageError(f"--json goes behind {ctx.invoked_subcommand}")
            raise click.UsageError(f"{ctx.invoked_subcommand} has no --json")
        return
    from astroclip_astro.cli.main import main

    main.list_commands(ctx)  # asks plugins for their commands, which can fail like any hook
    found = get_manager().plugins()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for plugin in found:
        about = (f"{plugin['distribution']} {plugin['version']}".strip(), plugin["status"])
        click.echo(f"{plugin['name']}  ({', '.join(filter(None, about))})")
        for kind, names in plugin["entries"].items():
            click.echo(f"    {kind}: {', '.join(names)}")
        for failure in plugin["failures"]:
            click.echo(f"    FAILED in {failure['where']}: {failure['message']}")


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What it registers.")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write; default: astroclip-NAME.",
)
def new(name, kind, folder):
    """Write a new plugin that works, to be edited.

    NAME is that of the plugin and of what it registers: lower-case letters, digits, hyphens.

    Example: astroclip plugins new low-z --kind survey
    """
    folder = new_plugin(name, kind, folder)
    where = shlex.quote(str(folder))
    click.echo(f"{folder} is a plugin that works. Next:")
    click.echo(f'    cd {where} && python -m pip install -e ".[test]" && python -m pytest')
    click.echo(f"    edit what README.md says, then: astroclip plugins check {name}")


@plugins.command()
@click.argument("name")
@click.option(
    "--example",
    "examples",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file of the survey that it registers; repeat for several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx, name, examples, as_json):
    """Check whether the plugin NAME does what it should, and say how to mend it.

    The exit code is 1 if a check fails.

    Example: astroclip plugins check low-z --example NGC1.fits
    """
    from astroclip_astro.testing.runner import check_with_files

    results = check_with_files(name, examples)
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            subject = f"{result.subject}: " if result.subject else ""
            reason = f"  ({result.message})" if result.outcome == "skipped" else ""
            click.echo(f"{result.outcome:8s} {subject}{result.check}{reason}")
            if result.outcome == "failed":
                click.echo(f"         {result.message}")
                click.echo(f"         Expected: {result.asserts}")
                click.echo(f"         Fix: {result.fix}")
        counts = Counter(result.outcome for result in results)
        click.echo(", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped")))
    if any(result.outcome == "failed" for result in results):
        ctx.exit(1)
