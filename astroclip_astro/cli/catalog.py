"""``astroclip catalog``: embedding catalogs built, searched, changed, checked and exported."""

from dataclasses import asdict
from pathlib import Path

import click

from astroclip_astro.cli.listings import listing
from astroclip_astro.cli.names import Registered
from astroclip_astro.cli.places import source_option
from astroclip_astro.cli.printing import aligned, printing, report_table
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
@printing
def list_catalogs(report):
    """List catalogs and recipes that are registered.

    Example: astroclip catalog list
    """
    listing("catalog", ("name", "licence"), report)


@catalog.command()
@click.argument("recipe", type=Registered("catalog", files=True))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to make; an interrupted build goes on.",
)
@source_option("Where the data of a source of the recipe are; may come again.")
@_overwrite
@printing
def build(recipe, output, sources, overwrite, report):
    """Make a catalog by RECIPE, a name of "astroclip catalog list", a file or a folder.

    Example: astroclip catalog build my-fits -o mine --source files=spectra
    """
    from astropy.table import Table

    from astroclip_astro.catalog.recipes import build as build_recipe
    from astroclip_astro.catalog.recipes.builder import REPORT

    build_recipe(recipe, output, sources=sources, overwrite=overwrite)
    count = Table.read(output / REPORT, format="ascii.ecsv").meta
    left_out = {
        "cut": "vectors cut by the recipe's conditions",
        "unmatched": "vectors without partner",
        "duplicates": "vectors of which there was a better one",
        "failed": f"could not be used: see {output / REPORT}",
    }
    report(
        {"output": output, **{name: count[name] for name in ("objects", *left_out)}},
        [
            f"{count['objects']} objects → {output}",
            *(f"{count[name]:8d}  {what}" for name, what in left_out.items() if count[name]),
        ],
    )


@catalog.command()
@_path
@printing
def info(path, report):
    """Tell what is in a catalog.

    Example: astroclip catalog info mine
    """
    from astroclip_astro.catalog.store import Store

    store = Store(path)
    schema = store.schema
    vectors = {
        modality: {
            "objects": store.count(modality),
            "features": schema.features,
            "indexed": store.indexed(modality),
        }
        for modality in schema.modalities
    }
    columns = [
        {
            "name": name,
            "type": schema.kinds[name],
            "unit": str(schema.units.get(name, "")),
            "description": schema.descriptions.get(name, ""),
        }
        for name in schema.names
    ]
    result = {
        "objects": store.count(),
        "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "vectors": vectors,
        "columns": columns,
        "provenance": schema.provenance,
    }
    lines = [f"{result['objects']} objects, {result['bytes'] / 1e6:,.2f} MB", "", "vectors"]
    for modality, one in vectors.items():
        index = "with an index" if one["indexed"] else "without an index"
        lines.append(
            f"  {modality}: {one['objects']} of {one['features']} numbers, {index}",
        )
    lines += ["", "columns", *aligned([["", *column.values()] for column in columns])]
    lines += ["", "provenance", *(f"  {name}: {text}" for name, text in schema.provenance.items())]
    report(result, lines)


@catalog.command()
@_path
@click.argument("queries", nargs=-1, required=True, type=click.Path(), metavar="QUERY...")
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
@printing
def search(
    path,
    queries,
    k,
    modality,
    cone,
    where,
    exclude_self,
    at_fixed_redshift,
    output,
    overwrite,
    report,
):
    """Find the objects most similar to each QUERY.

    A QUERY is a file with a spectrum or cutout to embed, if there is such a file, else the
    object_id of an object of the catalog.

    Example: astroclip catalog search mine spec-0266-51602-0001.fits -k 5
    """
    from astroclip_astro.catalog import EmbeddingCatalog
    from astroclip_astro.output import check_target
    from astroclip_astro.table_files import SUFFIXES

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
    report_table(table, output, report)


@catalog.command()
@_path
@click.argument("output", type=click.Path(path_type=Path))
@_cone
@_where
@_overwrite
@printing
def export(path, output, cone, where, overwrite, report):
    """Write objects with their vectors to OUTPUT.

    Its suffix decides the format: .fits, .vot, .ecsv, .parquet, or a HATS catalog without one.

    Example: astroclip catalog export mine galaxies.fits
    """
    from astroclip_astro.catalog import EmbeddingCatalog

    opened = EmbeddingCatalog.open(path)
    count = opened.export(output, cone=_as_cone(cone), where=where, overwrite=overwrite)
    report({"output": output, "objects": count}, f"{count} objects → {output}")


@catalog.command()
@_path
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--survey",
    type=Registered("survey"),
    help="How to read files to embed; default: recognise each.",
)
@click.option(
    "--columns",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table with object_id and the catalog's further columns.",
)
@printing
def append(path, files, survey, columns, report):
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
    added, lost = len(opened) - before, len(embeddings) - len(good)
    lines = [f"{added} objects → {path}"]
    if lost:
        lines.append(f"{lost:8d}  could not be embedded; see the log")
    report({"output": path, "objects": added, "failed": lost}, lines)


@catalog.command("map")
@_path
@click.option("--modality", help="Which vectors; default: each modality of the catalog.")
@printing
def map_catalog(path, modality, report):
    """Lay out the vectors of a catalog in two dimensions, and keep this map in it.

    Example: astroclip catalog map mine --modality image
    """
    from astroclip_astro.catalog import EmbeddingCatalog, make_map

    opened = EmbeddingCatalog.open(path)
    modalities = opened.modalities if modality is None else [modality]
    objects = {one: len(make_map(opened, one)) for one in modalities}
    lines = [f"{count} objects on the map of {one}: {path}" for one, count in objects.items()]
    report({"output": path, "objects": objects}, lines)


@catalog.command()
@_path
@printing
def compact(path, report):
    """Bring a catalog into order after changes: small files, deleted rows, indexes.

    Example: astroclip catalog compact mine
    """
    from astroclip_astro.catalog import EmbeddingCatalog

    EmbeddingCatalog.open(path).compact()
    report({"output": path}, f"in order: {path}")


@catalog.command()
@_path
@printing
def verify(path, report):
    """Check every file of a catalog against its checksum.

    Example: astroclip catalog verify mine
    """
    from astroclip_astro.catalog import verify as check

    damages = check(path)
    report(
        {"path": path, "damages": [asdict(damage) for damage in damages]},
        [f"{damage.path}: {damage.problem}" for damage in damages] or f"all as written: {path}",
    )
    if damages:
        raise CatalogError(f"{path} is damaged: {len(damages)} of its files are not as written")


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
