"""``astroclip catalog``: embedding catalogs built, searched, changed, checked and exported."""

from pathlib import Path

import click

from astroclip_astro.cli.listings import _as_json, _listing
from astroclip_astro.errors import CatalogError, InputError

__all__ = ["catalog"]

_path = click.argument("path", type=click.Path(path_type=Path))
_where = click.option(
    "--where", help="Condition on columns: \"redshift < 0.3 AND survey = 'desi'\"."
)
_cone = click.option(
    "--cone", metavar="'RA DEC RADIUS'", help='Part of the sky: "150.1 2.2 10arcmin".'
)
_overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there.")


@click.group()
def catalog():
    """Galaxies by sky position, by column, and by similarity.

    Example: astroclip catalog build mocks -o mocks-catalog
    """


@catalog.command("list")
@_as_json
def list_catalogs(as_json):
    """List catalogs and recipes that are registered.

    Example: astroclip catalog list
    """
    _listing("catalog", ("name", "licence"), as_json)


@catalog.command()
@click.argument("recipe")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to make; an interrupted build goes on.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME=PATH",
    help="Where the data of a source of the recipe are; may come again.",
)
@_overwrite
def build(recipe, output, sources, overwrite):
    """Make a catalog by RECIPE, a name of "astroclip catalog list", a file or a folder.

    Example: astroclip catalog build my-fits -o mine --source files=spectra
    """
    places = {}
    for one in sources:
        name, equals, place = one.partition("=")
        if not (name and equals and place):
            raise click.BadParameter(f"{one!r}: expected NAME=PATH", param_hint="--source")
        places[name] = Path(place).expanduser()

    from astropy.table import Table

    from astroclip_astro.catalog.recipes import build as build_recipe
    from astroclip_astro.catalog.recipes.builder import REPORT

    build_recipe(recipe, output, sources=places, overwrite=overwrite)
    count = Table.read(output / REPORT, format="ascii.ecsv").meta
    click.echo(f"{count['objects']} objects → {output}")
    for name, what in (
        ("cut", "vectors cut by the recipe's conditions"),
        ("unmatched", "vectors without partner"),
        ("duplicates", "vectors of which there was a better one"),
        ("failed", f"could not be used: see {output / REPORT}"),
    ):
        if count[name]:
            click.echo(f"{count[name]:8d}  {what}")


@catalog.command()
@_path
def info(path):
    """Tell what is in a catalog.

    Example: astroclip catalog info mine
    """
    from astroclip_astro.catalog.store import Store

    store = Store(path)
    schema = store.schema
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    click.echo(f"{store.count()} objects, {size / 1e6:,.2f} MB")
    click.echo("\nvectors")
    for modality in schema.modalities:
        index = "with an index" if store.indexed(modality) else "without an index"
        click.echo(f"  {modality}: {store.count(modality)} of {schema.features} numbers, {index}")
    click.echo("\ncolumns")
    units, descriptions, kinds = schema.units, schema.descriptions, schema.kinds
    rows = [
        (name, kinds[name], str(units.get(name, "")), descriptions.get(name, ""))
        for name in schema.names
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        click.echo("  ".join(["", *cells, row[3]]).rstrip())
    click.echo("\nprovenance")
    for name, text in schema.provenance.items():
        click.echo(f"  {name}: {text}")


@catalog.command()
@_path
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@click.option(
    "-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many to find."
)
@click.option("--modality", help="Which vectors are ranked; default: those of the query.")
@_cone
@_where
@click.option("--exclude-self", is_flag=True, help="Leave out the object of the query.")
@click.option("--at-fixed-redshift", is_flag=True, help="Rank without the trend with redshift.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write: .fits, .vot, .ecsv or .parquet; default: print.",
)
@_overwrite
def search(
    path, queries, k, modality, cone, where, exclude_self, at_fixed_redshift, output, overwrite
):
    """Find the objects most similar to each QUERY.

    A QUERY is a file with a spectrum or cutout to embed, if there is such a file, else the
    object_id of an object of the catalog.

    Example: astroclip catalog search mine spec-0266-51602-0001.fits -k 5
    """
    from astroclip_astro.catalog import EmbeddingCatalog
    from astroclip_astro.output import check_target, replacing
    from astroclip_astro.table_files import SUFFIXES, write_tables

    if output is not None:
        check_target(output, SUFFIXES, overwrite=overwrite)
    asked = [Path(one) if Path(one).is_file() else one for one in queries]
    table = EmbeddingCatalog.open(path).search(
        asked[0] if len(asked) == 1 else asked,
        k,
        modality=modality,
        cone=_as_cone(cone),
        where=where,
        exclude_self=exclude_self,
        at_fixed_redshift=at_fixed_redshift,
    )
    if output is None:
        click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)))
    else:
        with replacing(output) as aside:
            write_tables([table], aside, {"attrs": dict(table.meta)}, rows=len(table))
        click.echo(f"{len(table)} objects → {output}")


@catalog.command()
@_path
@click.argument("output", type=click.Path(path_type=Path))
@_cone
@_where
@_overwrite
def export(path, output, cone, where, overwrite):
    """Write objects with their vectors to OUTPUT.

    Its suffix decides the format: .fits, .vot, .ecsv, .parquet, or a HATS catalog without one.

    Example: astroclip catalog export mine galaxies.fits
    """
    from astroclip_astro.catalog import EmbeddingCatalog

    opened = EmbeddingCatalog.open(path)
    count = opened.export(output, cone=_as_cone(cone), where=where, overwrite=overwrite)
    click.echo(f"{count} objects → {output}")


@catalog.command()
@_path
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--survey", help="How to read files to embed; default: recognise each.")
@click.option(
    "--columns",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table with object_id and the catalog's further columns.",
)
def append(path, files, survey, columns):
    """Add the objects of FILES, all or none.

    FILES are embeddings, as "astroclip embed -o" writes them, or spectra and cutouts to embed.

    Example: astroclip catalog append mine embeddings.parquet
    """
    import astroclip_astro as aa
    from astroclip_astro.catalog import EmbeddingCatalog
    from astroclip_astro.embeddings import concat
    from astroclip_astro.training.sources.tables import read_table

    opened = EmbeddingCatalog.open(path)
    ready = [file for file in files if _holds_embeddings(file)]
    parts = [aa.open_embeddings(file).astroclip.rows() for file in ready]
    others = [file for file in files if file not in ready]
    if others:
        parts.append(aa.embed(others, model=opened.model, survey=survey, errors="flag"))
    embeddings = concat(parts)
    good = embeddings[embeddings.astroclip.valid.values]
    if not len(good):
        raise InputError(f"none of the {len(embeddings)} objects could be embedded; see the log")
    before = len(opened)
    opened.append(good, None if columns is None else read_table(columns))
    click.echo(f"{len(opened) - before} objects → {path}")
    if len(good) < len(embeddings):
        click.echo(f"{len(embeddings) - len(good):8d}  could not be embedded; see the log")


@catalog.command()
@_path
def compact(path):
    """Bring a catalog into order after changes: small files, deleted rows, indexes.

    Example: astroclip catalog compact mine
    """
    from astroclip_astro.catalog import EmbeddingCatalog

    EmbeddingCatalog.open(path).compact()
    click.echo(f"in order: {path}")


@catalog.command()
@_path
def verify(path):
    """Check every file of a catalog against its checksum.

    Example: astroclip catalog verify mine
    """
    from astroclip_astro.catalog import verify as check

    damages = check(path)
    for damage in damages:
        click.echo(f"{damage.path}: {damage.problem}")
    if damages:
        raise CatalogError(f"{path} is damaged: {len(damages)} of its files are not as written")
    click.echo(f"all as written: {path}")


def _as_cone(text):
    """Position and radius of ``--cone``."""
    if text is None:
        return None
    from astropy import units as u
    from astropy.coordinates import Angle, SkyCoord

    try:
        ra, dec, radius = text.split(maxsplit=2)
        return SkyCoord(float(ra), float(dec), unit=u.deg), Angle(radius.replace(" ", ""))
    except (ValueError, TypeError, u.UnitsError) as error:
        raise click.BadParameter(
            f"{text!r}: expected right ascension and declination in deg, and a radius with its "
            "unit, as in '150.1 2.2 10arcmin'",
            param_hint="--cone",
        ) from error


def _holds_embeddings(file):
    """Whether a file is one of embeddings; FITS files may be, or may have yet to be embedded."""
    from astropy.io import fits

    if file.suffix != ".fits":
        return file.suffix in (".parquet", ".nc", ".zarr", ".vot", ".ecsv")
    try:
        with fits.open(file) as hdus:
            return "EMBEDDINGS" in hdus
    except OSError:
        return False
