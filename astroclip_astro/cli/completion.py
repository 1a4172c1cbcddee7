"""``astroclip completion``: commands, options, names and files by the Tab key."""

import click
from click.shell_completion import get_completion_class

__all__ = ["VARIABLE", "completion"]

#: The environment variable by which the script asks for what can come next.
VARIABLE = "_ASTROCLIP_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell):
    """Print a script for SHELL that completes commands, options, names and files.

    In bash, add to ~/.bashrc: eval "$(astroclip completion bash)". In zsh the same with zsh, in
    ~/.zshrc. In fish, write it to ~/.config/fish/completions/astroclip.fish.

    Example: astroclip completion bash
    """
    from astroclip_astro.cli.main import main

    click.echo(get_completion_class(shell)(main, {}, "astroclip", VARIABLE).source())
