"""Arguments that are registered names, which the shell can complete."""

import click
from click.shell_completion import CompletionItem

from astroclip_astro.plugins import get_manager

__all__ = ["Registered"]


class Registered(click.ParamType):
    """The name of a registered entry; whether there is one is found out where it is used.

    Parameters
    ----------
    kind : str
        Of which kind: "model", "survey", …, or "plugin".
    files : bool
        Whether a file can stand in its place.

    Examples
    --------
    >>> from astroclip_astro.cli.names import Registered
    >>> [item.value for item in Registered("model").shell_complete(None, None, "astroclip-m")]
    ['astroclip-mini']
    """

    name = "text"

    def __init__(self, kind, *, files=False):
        self.kind = kind
        self.files = files

    def shell_complete(self, ctx, param, incomplete):
        """Names that begin with what has been typed, and, if they may be, files.

        Parameters
        ----------
        ctx : click.Context
            That of the command.
        param : click.Parameter
            What is completed.
        incomplete : str
            What has been typed.

        Returns
        -------
        list of click.shell_completion.CompletionItem
        """
        names = [name for name in self._names() if name.startswith(incomplete)]
        # Files first: what bash is told of them later would take the names away.
        files = [CompletionItem(incomplete, type="file")] if self.files else []
        return files + [CompletionItem(name) for name in names]

    def _names(self):
        if self.kind == "plugin":
            return [plugin["name"] for plugin in get_manager().plugins()]
        return [
            name
            for name, entry in get_manager().entries(self.kind).items()
            if getattr(entry, "fitted", True)  # of kinds of heads, nothing can be predicted yet
        ]
