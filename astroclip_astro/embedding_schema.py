"""The schema of embeddings: which coordinates and attributes they have, checked when made."""

import numpy as np
import xarray as xr
from astropy import units as u

from astroclip_astro.quality import Quality

__all__ = [
    "COLUMNS",
    "COMPANION",
    "PROVENANCE",
    "compared",
    "from_table",
    "make_embeddings",
    "unknown_columns",
]

#: Coordinates of the objects: type, unit, description, UCD (https://www.ivoa.net/documents/UCD1+).
COLUMNS = {
    "object_id": (str, None, "identifier", "meta.id;meta.main"),
    "ra": (np.float64, "deg", "ICRS right ascension", "pos.eq.ra;meta.main"),
    "dec": (np.float64, "deg", "ICRS declination", "pos.eq.dec;meta.main"),
    "modality": (str, None, "what was embedded: spectrum or image", "meta.code.class"),
    "survey": (str, None, "registered survey, empty if none was named", "meta.dataset"),
    "redshift": (np.float64, None, "redshift as the input states it", "src.redshift"),
    "coverage": (
        np.float64,
        None,
        "fraction of the model's input filled by real data",
        "obs.param",
    ),
    "snr": (np.float64, None, "median signal-to-noise ratio per pixel", "stat.snr"),
    "quality": (np.int64, None, "bits of astroclip_astro.Quality; 0 is clean", "meta.code.qual"),
}

#: Attributes that have to agree for vectors to be comparable.
PROVENANCE = ("model", "weights_sha256", "preprocessing")

#: Attributes ``companion_<modality>`` say which companion of the model made vectors of a modality.
COMPANION = "companion_"


def compared(attrs, others):
    """Tell which attributes have to agree for two sets of vectors to be comparable.

    Parameters
    ----------
    attrs, others : mapping of str
        Attributes of embeddings.

    Returns
    -------
    tuple of str
        `PROVENANCE`, and the companions (``companion_<modality>``) that both state.

    Examples
    --------
    >>> from astroclip_astro.embedding_schema import compared
    >>> compared({"companion_xp": "a"}, {"companion_xp": "b"})
    ('model', 'weights_sha256', 'preprocessing', 'companion_xp')
    """
    companions = (name for name in sorted(attrs) if name.startswith(COMPANION))
    return (*PROVENANCE, *(name for name in companions if name in others))


def unknown_columns(count):
    """The `COLUMNS` of objects of which nothing is known.

    Parameters
    ----------
    count : int
        How many objects.

    Returns
    -------
    dict of list
        For each column as many values: "", NaN, or 0 of the bits of quality.

    Examples
    --------
    >>> from astroclip_astro.embedding_schema import unknown_columns
    >>> unknown_columns(2)["survey"], unknown_columns(2)["quality"]
    (['', ''], [0, 0])
    """
    nothing = {str: "", np.float64: np.nan, np.int64: 0}
    return {name: [nothing[kind]] * count for name, (kind, *_) in COLUMNS.items()}


def make_embeddings(vectors, columns, attrs):
    """Put vectors and what is known of their objects into one array.

    Parameters
    ----------
    vectors : array_like
        Shape (object, feature), converted to float32. Rows that ``Quality.NOT_EMBEDDED`` is set of
        have to be NaN, and all others finite.
    columns : dict of array_like
        Coordinates, one value per object: ``object_id``, ``ra``, ``dec`` (in deg unless they have a
        unit), ``modality``, ``survey``, ``coverage``, ``snr``, ``quality``, and, where it is known,
        ``redshift``. Masked numbers become NaN, masked text becomes empty, and white space around
        text is dropped, as most files do not tell it from padding.
    attrs : dict of str
        Provenance: ``model``, ``weights_sha256``, ``preprocessing``, and further ones such as
        ``versions`` and ``date``, all printable text. Their names are identifiers.

    Returns
    -------
    xarray.DataArray
        Dims ("object", "feature"), float32.

    Raises
    ------
    ValueError
        If columns are missing, unknown, of another length, type or dimension, attributes are
        missing or no text, or a row is not finite without saying so (or says so without being).

    Examples
    --------
    >>> from astroclip_astro.embeddings import make_embeddings
    >>> one = make_embeddings(
    ...     [[0.6, 0.8]],
    ...     {"object_id": ["a"], "ra": [150.0], "dec": [2.0], "modality": ["image"],
    ...      "survey": [""], "redshift": [0.1], "coverage": [1.0], "snr": [9.0], "quality": [0]},
    ...     {"model": "toy", "weights_sha256": "", "preprocessing": ""})
    >>> one.dims, one.shape, one.ra.attrs["units"]
    (('object', 'feature'), (1, 2), 'deg')
    """
    mask = np.ma.getmask(vectors)
    with np.errstate(over="ignore"):  # what overflows float32 is not finite, and refused below
        vectors = np.array(np.ma.getdata(vectors), np.float32)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ValueError(f"vectors of shape {vectors.shape}: expected (object, feature)")
    vectors[mask] = np.nan
    missing = [name for name in PROVENANCE if name not in attrs]
    if missing:
        raise ValueError(f"attributes that are missing: {', '.join(missing)}")
    odd = [str(name) for name, text in attrs.items() if not _is_storable(name, text)]
    if odd:
        names = ", ".join(odd)
        raise ValueError(f"attributes that are no printable text named by an identifier: {names}")
    columns = {"redshift": np.full(len(vectors), np.nan)} | dict(columns)
    odd = sorted(columns.keys() ^ COLUMNS.keys())
    if odd:
        raise ValueError(f"columns that are missing or unknown: {', '.join(map(str, odd))}")
    coordinates = {}
    for name, (_, unit, description, _) in COLUMNS.items():
        values = _coordinate(name, columns[name], len(vectors))
        about = {"long_name": description} | ({"units": unit} if unit else {})
        if name == "quality":
            flags = list(Quality)
            about["flag_masks"] = np.array([int(flag) for flag in flags])
            about["flag_meanings"] = " ".join(flag.name for flag in flags)
        coordinates[name] = ("object", values, about)
    embedded = (coordinates["quality"][1] & Quality.NOT_EMBEDDED) == 0
    right = np.where(embedded, np.isfinite(vectors).all(1), np.isnan(vectors).all(1))
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        name = coordinates["object_id"][1][row] or f"row {row}"
        raise ValueError(
            f"{name}: its vector is not finite, but its quality does not say NOT_EMBEDDED"
            if embedded[row]
            else f"{name}: its quality says NOT_EMBEDDED, but its vector is not all NaN"
        )
    return xr.DataArray(
        vectors, dims=("object", "feature"), coords=coordinates, attrs=attrs, name="embedding"
    )


def _is_storable(name, value):
    """Whether every file format can hold an attribute, and netCDF as a name of its own."""
    texts = isinstance(name, str) and isinstance(value, str)
    return texts and name.isidentifier() and value.isprintable()


def _coordinate(name, given, n):
    """One value per object, in the coordinate's own type and unit."""
    kind, unit, *_ = COLUMNS[name]
    mask, values = np.ma.getmask(given), np.asarray(np.ma.getdata(given))
    if values.shape != (n,):
        raise ValueError(f"{name} has shape {values.shape}, expected ({n},)")
    given_unit = getattr(given, "unit", None)
    if given_unit is not None:
        try:
            values = u.Unit(given_unit).to(unit or u.dimensionless_unscaled, values)
        except u.UnitConversionError as error:
            raise ValueError(f"{name} is in {given_unit}, expected {unit or 'no unit'}") from error
    if kind is str:
        return _text(name, np.where(mask, "", values) if np.any(mask) else values)
    if n and not np.can_cast(values.dtype, kind, "same_kind"):
        raise ValueError(f"{name} holds {values.dtype}, expected {np.dtype(kind)}")
    values = values.astype(kind)
    if np.any(mask):
        if kind is np.int64:
            raise ValueError(f"{name} is masked, expected a value for every object")
        values[mask] = np.nan
    return values


def _text(name, values):
    """Text, from text, bytes or integers, without the padding of files."""
    if not values.size:
        return np.empty(0, str)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    is_text = values.dtype.kind in "UTiu" or all(isinstance(value, str) for value in values)
    if not is_text:
        raise ValueError(
            f"{name} holds {values.dtype}, expected text or integers (as floating-point numbers, "
            "long identifiers lose digits)"
        )
    return np.char.strip(values.astype(str))


def from_table(table):
    """Turn a table of `to_table` back into an array.

    Parameters
    ----------
    table : astropy.table.Table
        With the columns of `make_embeddings` and ``embedding``; coordinates in any angular unit.

    Returns
    -------
    xarray.DataArray
        Dims ("object", "feature").

    Raises
    ------
    ValueError
        As `make_embeddings` does.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astroclip_astro.embeddings import from_table
    >>> from_table(Table({"ra": [150.0], "embedding": [[0.6, 0.8]]}))
    Traceback (most recent call last):
        ...
    ValueError: attributes that are missing: model, weights_sha256, preprocessing
    """
    if "embedding" not in table.colnames:
        raise ValueError(f"no column 'embedding' among {', '.join(table.colnames)}")
    columns = {name: table[name] for name in table.colnames}
    vectors = columns.pop("embedding")
    if vectors.ndim == 1:  # files tell a vector of one number from a number no more
        vectors = vectors[:, None]
    return make_embeddings(vectors, columns, dict(table.meta))
