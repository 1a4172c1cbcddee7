"""``astroclip explore``: the page of a catalog in the browser."""

from pathlib import Path

import click

from astroclip_astro.cli.places import source_option
from astroclip_astro.cli.printing import printing

__all__ = ["explore"]


@click.command()
@click.argument("path", metavar="CATALOG", type=click.Path(path_type=Path))
@source_option("Where the data of a source of its recipe are, to be shown; may come again.")
@click.option(
    "--address",
    default="localhost",
    show_default=True,
    help="Of this computer; at any other than localhost, everybody who reaches it can look.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="By default any that is free.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.")
@printing
def explore(path, sources, address, port, browser, report):
    """Look at a CATALOG in the browser, until it is interrupted.

    Example: astroclip explore mocks-catalog
    """
    from astroclip_astro.catalog.catalog import EmbeddingCatalog
    from astroclip_astro.catalog.recipes import Objects
    from astroclip_astro.explorer import serve

    def started(where):
        text = f"{catalog.path.name}: {where} (Ctrl-C ends it)"
        report({"catalog": catalog.path, "objects": len(catalog), "url": where}, text)

    catalog = EmbeddingCatalog.open(path)
    objects = Objects(catalog, sources)
    serve(
        catalog,
        objects=objects.find,
        address=address,
        port=port,
        browser=browser,
        started=started,
    )
