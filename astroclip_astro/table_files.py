"""Tables as files that Astropy and TOPCAT read alike, with units, descriptions, UCDs and notes."""

import io
import json
import re
import warnings
from contextlib import closing
from itertools import chain, islice

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table, vstack
from astropy.table.meta import get_yaml_from_table

from astroclip_astro.errors import InputError

__all__ = [
    "NOTES",
    "SUFFIXES",
    "check_text",
    "fits_hdu",
    "voparquet",
    "votable",
    "write_ecsv",
    "write_tables",
]

#: Where each file keeps what is said of the whole, as JSON. FITS and VOTable have no place for long
#: or structured metadata of their own, and a FITS keyword has at most eight characters.
NOTES = "embed"

#: Formats of `write_tables`.
SUFFIXES = (".fits", ".vot", ".ecsv", ".parquet")

# What some file format cannot hold in text: control characters, line separators, lone surrogates.
_UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_BLOCK = 2880  # bytes, of FITS


def check_text(name, values):
    r"""Check that every format can hold some text.

    Parameters
    ----------
    name : str
        What it is.
    values : iterable of str
        The texts.

    Raises
    ------
    InputError
        If one of them has a control character, line separator or lone surrogate.

    Examples
    --------
    >>> from astroclip_astro.table_files import check_text
    >>> check_text("object_id", ["NGC 5227", "two\nlines"])
    Traceback (most recent call last):
        ...
    astroclip_astro.errors.InputError: object_id 'two\nlines' has a character that files ...
    """
    bad = next((str(text) for text in values if _UNSTORABLE.search(text)), None)
    if bad is not None:
        raise InputError(f"{name} {bad!r} has a character that files cannot hold: replace it")


def write_tables(tables, path, notes, *, rows, widths=None):
    """Write a table that comes in parts.

    Parameters
    ----------
    tables : iterable of astropy.table.Table
        At least one, all with the same columns; text as ``str``, vectors as columns of shape
        (row, feature). The ``ucd`` of a column is looked up in its ``info.meta``.
    path : pathlib.Path
        The file to make; its suffix is one of `SUFFIXES`.
    notes : dict of str
        What is said of the whole, kept as JSON.
    rows : int
        How many there are in all.
    widths : dict of int, optional
        Most bytes in UTF-8 of the text of each column; by default those of the first table.

    Raises
    ------
    InputError
        If text has control characters.

    Notes
    -----
    FITS and Parquet take the memory of a part; VOTable and ECSV several times that of the whole.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astropy.table import Table
    >>> from astroclip_astro.table_files import write_tables
    >>> parts = [Table({"mass": [1.0, 2.0]}), Table({"mass": [3.0]})]
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "galaxies.fits")
    ...     write_tables(parts, path, {"model": "toy"}, rows=3)
    ...     Table.read(path)["mass"].tolist()
    [1.0, 2.0, 3.0]
    """
    tables = iter(tables)
    (first,) = islice(tables, 1)
    widths = widths or {name: _bytes(first[name]) for name in _texts(first)}
    checked = map(_checked, chain([first], tables))
    _WRITERS[path.suffix](checked, path, json.dumps(notes), rows, widths)


def fits_hdu(table, notes, *, widths=None):
    """Make the HDU of a table, in the conventions of TOPCAT.

    Parameters
    ----------
    table : astropy.table.Table
        As for `write_tables`; of its ``meta`` nothing is kept.
    notes : str
        What is said of the whole, for a keyword.
    widths : dict of int, optional
        Bytes of each column of text.

    Returns
    -------
    astropy.io.fits.BinTableHDU

    Notes
    -----
    What is masked has a TNULL, also in columns of truths, which become integers then: Astropy takes
    the null of the standard for false.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroclip_astro.table_files import fits_hdu
    >>> fits_hdu(Table({"z": [0.1]}), "{}").columns.names
    ['z']
    """
    plain, widths = _plain(table, "fits"), widths or {}
    for name in plain.colnames:
        column = plain[name]
        if column.dtype.kind == "U":  # FITS has ASCII only, of which UTF-8 is a superset
            encoded = np.char.encode(np.asarray(column), "utf-8")
            width = max(1, widths.get(name, encoded.dtype.itemsize))
            plain[name] = encoded.astype(f"S{width}")
        elif isinstance(column, MaskedColumn) and column.dtype.kind in "bi":
            kind = np.dtype(np.int16 if column.dtype.kind == "b" else column.dtype)
            plain[name] = column.astype(kind)
            plain[name].set_fill_value(np.iinfo(kind).min)
    plain.meta = {NOTES: notes}
    hdu = fits.table_to_hdu(plain)
    for number, column in enumerate(_plain(table, "fits").itercols(), start=1):
        # Not in the standard, but conventions that TOPCAT and others know.
        about = {"TCOMM": column.info.description, "TUCD": column.info.meta.get("ucd")}
        for keyword, text in about.items():
            if text:
                hdu.header[f"{keyword}{number}"] = text
    return hdu


def votable(table, notes, *, data=True):
    """Make a VOTable.

    Parameters
    ----------
    table : astropy.table.Table
        As for `write_tables`.
    notes : str
        What is said of the whole, for an INFO.
    data : bool
        Whether to put the rows into it, or to describe the columns only.

    Returns
    -------
    astropy.io.votable.tree.VOTableFile

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroclip_astro.table_files import votable
    >>> votable(Table({"z": [0.1]}), "{}").get_first_table().fields[0].datatype
    'double'
    """
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    plain = _plain(table, "vounit")
    for name in _texts(plain):
        # Astropy cuts text off at the column's width in UTF-16, in which some characters are two.
        width = max([len(text.encode("utf-16-be")) // 2 for text in plain[name]], default=0)
        # At least two, since to TOPCAT one is a character and no text.
        plain[name] = plain[name].astype(f"U{max(2, width)}")
    made = from_table(plain if data else plain[:0])
    made.infos.append(Info(name=NOTES, value=notes))
    return made


def voparquet(table, notes):
    """Describe the columns of a Parquet file, which has no units of its own.

    Parameters
    ----------
    table : astropy.table.Table
        As for `write_tables`; none of its rows is needed.
    notes : str
        What is said of the whole.

    Returns
    -------
    dict
        Metadata for the schema: a VOTable without data, which is what TOPCAT looks for, and
        https://www.ivoa.net/documents/Notes/voparquet describes.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroclip_astro.table_files import voparquet
    >>> sorted(voparquet(Table({"z": [0.1]}), "{}"))
    ['IVOA.VOTable-Parquet.content', 'IVOA.VOTable-Parquet.version', 'embed']
    """
    fields = io.BytesIO()
    votable(table, notes, data=False).to_xml(fields)
    return {
        NOTES: notes,
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": fields.getvalue(),
    }


def write_ecsv(table, path, notes, **meta):
    """Write a table as ECSV.

    Parameters
    ----------
    table : astropy.table.Table
        As for `write_tables`.
    path : path-like
        The file to make.
    notes : str
        What is said of the whole.
    **meta
        More of that.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astropy.table import Table
    >>> from astroclip_astro.table_files import write_ecsv
    >>> with TemporaryDirectory() as folder:
    ...     write_ecsv(Table({"z": [0.1]}), Path(folder, "one.ecsv"), "{}")
    ...     len(Table.read(Path(folder, "one.ecsv")))
    1
    """
    # First a number, since a row that begins with "#" would be read as a comment.
    number = next(name for name in table.colnames if table[name].dtype.kind in "iuf")
    table = _plain(table, "generic")[number, *[n for n in table.colnames if n != number]]
    table.meta = {NOTES: notes, **meta}
    if not len(table):  # Astropy does not read back a column of vectors without rows
        table.remove_columns([name for name in table.colnames if table[name].ndim > 1])
    table.write(path, format="ascii.ecsv")


def _write_fits(tables, path, notes, rows, widths):
    hdus = (fits_hdu(table, notes, widths=widths) for table in tables)
    (first,) = islice(hdus, 1)
    header = first.header.copy()
    header["NAXIS2"] = rows
    with closing(fits.StreamingHDU(path, header)) as stream:
        for hdu in chain([first], hdus):
            file = io.BytesIO()
            hdu.writeto(file)
            size = hdu.header["NAXIS1"] * hdu.header["NAXIS2"]
            if size:  # its rows are the last blocks
                start = file.tell() - -(-size // _BLOCK) * _BLOCK
                stream.write(np.frombuffer(file.getbuffer(), np.uint8, size, start))


def _write_votable(tables, path, notes, rows, widths):
    # Binary is ten times quicker than text, half as large, and keeps white space.
    made = votable(vstack(list(tables), metadata_conflicts="silent"), notes)
    made.to_xml(str(path), tabledata_format="binary2")


def _write_ecsv(tables, path, notes, rows, widths):
    write_ecsv(vstack(list(tables), metadata_conflicts="silent"), path, notes)


def _write_parquet(tables, path, notes, rows, widths):
    from pyarrow import parquet

    (first,) = islice(tables, 1)
    bare = _plain(first[:0], "generic")
    bare.meta = {NOTES: notes}
    metadata = voparquet(first[:0], notes)
    # What Astropy looks for.
    metadata["table_meta_yaml"] = "\n".join(get_yaml_from_table(bare))
    metadata |= {f"table::len::{name}": str(width) for name, width in widths.items()}
    schema = _arrow(first).schema.with_metadata(metadata)
    with parquet.ParquetWriter(path, schema) as writer:
        for table in chain([first], tables):
            writer.write_table(_arrow(table).cast(schema))


_WRITERS = {
    ".fits": _write_fits,
    ".vot": _write_votable,
    ".ecsv": _write_ecsv,
    ".parquet": _write_parquet,
}


def _texts(table):
    """Names of the columns that are text."""
    return [name for name in table.colnames if table[name].dtype.kind == "U"]


def _bytes(column):
    """Most bytes of a text, at least one."""
    return max([len(text.encode()) for text in np.asarray(column)], default=1) or 1


def _checked(table):
    """The same, if every format can hold its text."""
    for name in _texts(table):
        check_text(name, np.asarray(table[name]))
    return table


def _plain(table, style):
    """The same in plain columns; units that a format has no word for are put into descriptions."""
    plain = Table()
    for name in table.colnames:
        column, info = table[name], table[name].info
        values = np.ma.getdata(getattr(column, "unmasked", getattr(column, "value", column)))
        if hasattr(column, "mask"):
            plain[name] = MaskedColumn(values, mask=column.mask)
        else:
            plain[name] = Column(values)
        unit, text = _portable(info.unit, style), info.description or ""
        plain[name].info.unit = unit
        if info.unit is not None and unit is None:
            text = f"{text} [{info.unit}]".strip()
        plain[name].info.description = text or None
        plain[name].info.meta = dict(info.meta or {})
    return plain


def _portable(unit, style):
    """A unit in the manner of a format, or None if that has no word for it."""
    if unit is None or style == "generic":
        return unit
    with warnings.catch_warnings():
        warnings.simplefilter("error", u.UnitsWarning)
        try:
            return u.Unit(u.Unit(unit).to_string(style), format=style)
        except (ValueError, u.UnitsWarning):
            return None


def _arrow(table):
    """The same as a pyarrow.Table."""
    import pyarrow as pa

    columns, plain = {}, _plain(table, "generic")
    for name in plain.colnames:
        values, mask = np.ma.getdata(plain[name]), np.ma.getmask(plain[name])
        if values.ndim > 1:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        else:
            kind = pa.string() if values.dtype.kind == "U" else None
            values = np.asarray(values)
            columns[name] = pa.array(
                values.astype(object) if kind else values,
                kind,
                mask=None if mask is np.ma.nomask else mask,
            )
    return pa.table(columns)
