"""``astroclip plugins``: what is installed, a new one, and whether one does what it should."""

import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from astroclip_astro.cli.names import Registered
from astroclip_astro.cli.printing import printing
from astroclip_astro.plugins import get_manager
from astroclip_astro.plugins.template import KINDS, new_plugin

__all__ = ["plugins"]


@click.group(invoke_without_command=True)
@printing
@click.pass_context
def plugins(ctx, report):
    """List plugins, what they register, and what is wrong with them.

    Example: astroclip plugins --json
    """
    if ctx.invoked_subcommand is not None:
        if ctx.params["as_json"]:
            raise click.UsageError(f"--json goes behind {ctx.invoked_subcommand}")
        return
    from astroclip_astro.cli.main import main

    main.list_commands(ctx)  # asks plugins for their commands, which can fail like any hook
    found = get_manager().plugins()
    lines = []
    for plugin in found:
        about = (f"{plugin['distribution']} {plugin['version']}".strip(), plugin["status"])
        lines.append(f"{plugin['name']}  ({', '.join(filter(None, about))})")
        for kind, names in plugin["entries"].items():
            lines.append(f"    {kind}: {', '.join(names)}")
        for failure in plugin["failures"]:
            lines.append(f"    FAILED in {failure['where']}: {failure['message']}")
    report(found, lines)


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
@printing
def new(name, kind, folder, report):
    """Write a new plugin that works, to be edited.

    NAME is that of the plugin and of what it registers: lower-case letters, digits, hyphens.

    Example: astroclip plugins new low-z --kind survey
    """
    folder = new_plugin(name, kind, folder)
    where = shlex.quote(str(folder))
    report(
        {"output": folder},
        [
            f"{folder} is a plugin that works. Next:",
            f'    cd {where} && python -m pip install -e ".[test]" && python -m pytest',
            f"    edit what README.md says, then: astroclip plugins check {name}",
        ],
    )


@plugins.command()
@click.argument("name", type=Registered("plugin"))
@click.option(
    "--example",
    "examples",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file of the survey that it registers; repeat for several.",
)
@printing
@click.pass_context
def check(ctx, name, examples, report):
    """Check whether the plugin NAME does what it should, and say how to mend it.

    The exit code is 1 if a check fails.

    Example: astroclip plugins check low-z --example NGC1.fits
    """
    from astroclip_astro.testing.runner import check_with_files

    results = check_with_files(name, examples)
    lines = []
    for result in results:
        subject = f"{result.subject}: " if result.subject else ""
        reason = f"  ({result.message})" if result.outcome == "skipped" else ""
        lines.append(f"{result.outcome:8s} {subject}{result.check}{reason}")
        if result.outcome == "failed":
            lines.append(f"         {result.message}")
            lines.append(f"         Expected: {result.asserts}")
            lines.append(f"         Fix: {result.fix}")
    counts = Counter(result.outcome for result in results)
    lines.append(", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped")))
    report([asdict(result) for result in results], lines)
    if any(result.outcome == "failed" for result in results):
        ctx.exit(1)
