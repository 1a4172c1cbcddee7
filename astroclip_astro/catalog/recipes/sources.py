"""Where the objects of a recipe come from: what every kind of source has."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import lance
import numpy as np
import pyarrow as pa
from astropy import units as u
from astropy.table import Table

from astroclip_astro.catalog.predicate import predicate
from astroclip_astro.embedding_schema import COLUMNS
from astroclip_astro.errors import InputError

__all__ = ["OF_FILES", "Column", "Entries", "Found", "Source", "plain_values"]

_TYPES = {str: "text", np.float64: "number", np.int64: "integer"}
_KINDS = {"b": "truth", "i": "integer", "u": "integer", "f": "number", "U": "text"}

#: What the `where` of files can be about, with its kind, as `predicate` takes them.
OF_FILES = {name: _TYPES[kind] for name, (kind, *_) in COLUMNS.items()}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A further column of a catalog.

    Parameters
    ----------
    column : str
        Its name in the source; by default the same.
    unit : str
        Values are converted to it, and taken to be in it where the source has no unit.
    description : str
        What it is; by default what the source says.
    """

    column: str = ""
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class Found:
    """One object of an entry.

    Parameters
    ----------
    obj : specutils.Spectrum or astropy.nddata.NDData or None
        What to embed; None if it cannot be had.
    survey : str
        How it is to be understood; "" if it says so itself.
    known : dict
        Coordinates of the embedding that the source knows better: ``object_id`` and others.
    reason : str
        Why it cannot be had.
    """

    obj: object
    survey: str = ""
    known: dict = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Entries:
    """What a source has, entry by entry.

    Parameters
    ----------
    keys : list of str
        Names of the entries; another content has another name.
    read : callable
        Takes a key and returns a list of `Found`, always in the same order; raises `KeyError` if
        there is no such entry, and `AstroclipError` if it is of no use.
    columns : astropy.table.Table or None
        Further columns, with ``object_id``.
    about : str
        What was found, in words.
    """

    keys: list
    read: object
    columns: object
    about: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """What every source has.

    Parameters
    ----------
    name : str
        By which ``--source NAME=PATH`` says where its data are.
    path : str
        Where they are, relative to the recipe, if they come along with it.
    where : str
        Which entries to take, as for `EmbeddingCatalog.search`, of what the source knows: columns
        of a table or of a mock survey; of files, what embeddings have, such as ``redshift``,
        ``snr`` and ``quality``.
    match : str
        Angle within which its objects belong to one of the first source, instead of having the same
        ``object_id``. What has no partner is left out, here and there.
    n : int
        Only the first so many entries; 0 for all.
    url : str
        Where an archive has the data.
    fetch : str
        What to fetch from there.
    columns : dict of Column
        Further columns of the catalog, by name.
    """

    kind: ClassVar[str] = ""

    name: str
    path: str = ""
    where: str = ""
    match: str = ""
    n: int = 0
    url: str = ""
    fetch: str = ""
    columns: dict[str, Column] = field(default_factory=dict)

    def open(self, path, scratch, modalities):
        """List what is there.

        Parameters
        ----------
        path : pathlib.Path or None
            Where the data are.
        scratch : pathlib.Path
            Folder for what has to be made first.
        modalities : sequence of str
            What is wanted of each object.

        Returns
        -------
        Entries

        Raises
        ------
        InputError
            If the data are not there, or not as described.
        """
        raise NotImplementedError

    def reopen(self, path, modalities):
        """Open it when the catalog is made, to read some of the entries once more.

        Parameters
        ----------
        path : pathlib.Path or None
            Where the data are.
        modalities : sequence of str
            Those that the catalog was built with: they decide what entries hold.

        Returns
        -------
        Entries
            Of which only ``read`` is of use.

        Raises
        ------
        InputError
            As `open` does.
        """
        return self.open(path, None, modalities)

    def _there(self, path):
        """The path, if there is something."""
        if path is None:
            what = " ".join(self.fetch.split()) or "its data"
            where = f", from {self.url}" if self.url else ""
            raise InputError(
                f"source {self.name!r} has no data here: pass them as --source {self.name}=PATH. "
                f"Expected {what}{where}"
            )
        if not path.exists():
            raise InputError(
                f"source {self.name!r}: there is no {path}; pass where its data are as "
                f"--source {self.name}=PATH"
            )
        return path

    def _taken(self, table):
        """Rows of a table that pass the cuts."""
        rows = np.flatnonzero(_passing(table, self.where)) if self.where else np.arange(len(table))
        if not rows.size:
            raise InputError(f"source {self.name!r}: none of {len(table)} rows passes its where")
        return rows[: self.n or None]

    def _further(self, table, names):
        """The columns that the catalog is to have."""
        if not self.columns:
            return None
        found = Table({"object_id": names})
        for name, asked in self.columns.items():
            column = asked.column or name
            if column not in table.colnames:
                raise InputError(
                    f"source {self.name!r} has no column {column!r}; it has "
                    f"{', '.join(table.colnames)}"
                )
            given, (values, mask) = table[column], plain_values(table[column])
            unit = given.info.unit
            if asked.unit and unit is not None and u.Unit(asked.unit) != unit:
                try:
                    converted = (values * u.Unit(unit)).to_value(asked.unit)
                except u.UnitConversionError as error:
                    raise InputError(
                        f"source {self.name!r}, column {column!r} is in {unit}: expected "
                        f"{asked.unit}"
                    ) from error
                # Whole numbers need not be whole in another unit.
                values = converted.astype(values.dtype if values.dtype.kind == "f" else float)
            found[name] = np.ma.array(values, mask=mask) if mask.any() else values
            found[name].unit = asked.unit or unit
            found[name].description = asked.description or given.info.description
        return found


def plain_values(column):
    """Take the values of a column of a table.

    Parameters
    ----------
    column : astropy.table.Column or Quantity
        Of numbers, truths or text, masked or not, in either byte order.

    Returns
    -------
    values : numpy.ndarray
        Of the same shape, text as ``str``; what is masked is anything.
    mask : numpy.ndarray
        Of bool, which of them are masked.

    Examples
    --------
    >>> from astropy.table import MaskedColumn
    >>> from astroclip_astro.catalog.recipes.sources import plain_values
    >>> plain_values(MaskedColumn([b"a", b"b"], mask=[False, True]))
    (array(['a', 'b'], dtype='<U1'), array([False,  True]))
    """
    mask = np.asarray(getattr(column, "mask", np.zeros(column.shape, bool)))
    values = getattr(column, "unmasked", getattr(column, "value", column))
    values = np.asarray(np.ma.getdata(values))
    if values.dtype.kind == "O" and all(isinstance(one, str) for one in values[~mask]):
        values = np.where(mask, "", values).astype(str)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    return values.astype(values.dtype.newbyteorder("=")), mask


def _passing(table, where):
    """Which rows fulfil a condition, by the engine that catalogs are searched with."""
    columns, kinds = {}, {}
    for name in table.colnames:
        column = table[name]
        if not name.isidentifier() or name.startswith("_") or column.shape[1:]:
            continue
        values, mask = plain_values(column)
        if values.dtype.kind in _KINDS:
            if values.dtype.kind == "f":
                mask = mask | np.isnan(values)
                values = values + values.dtype.type(0)  # to conditions, -0.0 is another number
            plain = values.astype(object) if values.dtype.kind == "U" else values
            columns[name] = pa.array(plain, mask=mask)
            kinds[name] = _KINDS[values.dtype.kind]
    sql = predicate(where, kinds)
    with TemporaryDirectory() as folder:
        rows = pa.table(columns).append_column("_row", pa.array(np.arange(len(table))))
        dataset = lance.write_dataset(rows, Path(folder, "rows.lance"))
        found = dataset.to_table(columns=["_row"], filter=sql)["_row"].to_numpy()
    passing = np.zeros(len(table), bool)
    passing[found] = True
    return passing
