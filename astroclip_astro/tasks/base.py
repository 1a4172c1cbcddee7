"""The contract of task heads: scikit-learn's manners on embeddings, tables with units out."""

import json
import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import xarray as xr
from astropy import units as u
from astropy.table import QTable, Table
from astropy.utils.masked import Masked
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from astroclip_astro.embedding_schema import COMPANION, PROVENANCE, compared, from_table
from astroclip_astro.errors import InputError, ProvenanceError, WeightsError
from astroclip_astro.notebooks import html_table
from astroclip_astro.quality import Quality
from astroclip_astro.tensor_files import read_tensors, write_tensors

__all__ = ["Head", "load_head", "names_of", "quality_of"]

log = logging.getLogger(__name__)

_FORMAT = "astroclip_astro-head-1"


class Head(BaseEstimator):
    """What all heads have in common.

    A head takes embeddings (an `xarray.DataArray` as `astroclip_astro.embed` returns it, or a table
    of them) and answers with a `QTable`, an object a row, in the order given. It takes plain arrays
    as well, shape (object, feature), and then answers with arrays, as scikit-learn's own estimators
    do: cross-validation and pipelines work with it.

    A class of heads stores the arguments of its constructor as they are, puts everything that it
    learns into attributes that end in an underscore and are numbers, arrays or tensors named by
    `_learned`, and gives itself the name by which it is registered.

    Attributes
    ----------
    n_features_in_ : int
        Length of the vectors that it was fitted on.
    provenance_ : dict of str
        Model, weights and preprocessing of those, and ``normalization`` if they were of unit
        length; empty if it was fitted on plain arrays.
    modalities_ : list of str
        Of the objects that it was fitted on; empty if on plain arrays.
    """

    #: Registered name of the class.
    kind: ClassVar[str] = ""
    # Names of the arrays that `save` writes besides the parameters.
    _learned: ClassVar[tuple[str, ...]] = ()

    def save(self, path):
        """Write the fitted head, as a whole or not at all.

        Parameters
        ----------
        path : path-like
            File to write, ``.safetensors``: arrays, and in its header, as JSON, the parameters and
            the model that the embeddings were made with. Nothing in it can be executed.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it has not been fitted.
        FileNotFoundError
            If there is no such folder.
        """
        check_is_fitted(self)
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path.parent} is no folder to save a head in: make it first")
        about = {
            "format": _FORMAT,
            "kind": self.kind,
            "parameters": json.dumps(self.get_params(deep=False), default=_listed),
            "fitted": json.dumps(self._about()),
        }
        tensors = {name: torch.as_tensor(array) for name, array in self._arrays().items()}
        write_tensors(path, {k: v.contiguous().clone() for k, v in tensors.items()}, about)

    def _repr_html_(self):
        rows = [(name, repr(value)) for name, value in self.get_params(deep=False).items()]
        if hasattr(self, "n_features_in_"):
            kinds = " and ".join(self.modalities_) or "plain"
            learned = f"{kinds} vectors of {self.n_features_in_} numbers"
            if self.provenance_:
                learned += f" by {_named(self.provenance_)}"
            rows.append(("learned from", learned))
            units = dict(zip(getattr(self, "names_", ()), getattr(self, "units_", ()), strict=True))
            if units:
                named = (f"{name} ({unit})" if unit else name for name, unit in units.items())
                rows.append(("answers", ", ".join(named)))
        return html_table(f"{type(self).__name__} {self.kind!r}", rows)

    def _repr_mimebundle_(self, **kwargs):  # scikit-learn's own comes first else
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _arrays(self):
        """What was learned, by name."""
        return {name: getattr(self, name) for name in self._learned}

    def _about(self):
        """Plain values that were learned, ready for JSON."""
        names = ("n_features_in_", "provenance_", "modalities_")
        about = {name: getattr(self, name) for name in names}
        if hasattr(self, "feature_names_in_"):
            about["feature_names_in_"] = list(self.feature_names_in_)
        return about

    def _restore(self, arrays, about):
        """Become what was saved."""
        for name, value in about.items():
            if not name.endswith("_"):
                raise ValueError(f"{name} is nothing that a head learns")
            setattr(self, name, value)
        for name in self._learned:
            setattr(self, name, arrays[name].numpy())

    def _start(self, X):
        """Look at what to learn from: finite vectors (n, feature), float64."""
        rows = _rows(X)
        if rows is None:
            self.provenance_, self.modalities_ = {}, []
            return validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self.n_features_in_ = rows.sizes["feature"]
        self.provenance_ = _provenance(rows)
        self.modalities_ = _modalities(rows)
        if len(rows) < 2:
            raise InputError(f"{len(rows)} sample: expected at least 2 objects to learn from")
        return _complete(rows)

    def _scale(self, x):
        """Learn the scale of vectors (n, feature), and bring them to it."""
        self.x_mean_, self.x_scale_ = standard(x)
        return self._standardised(x)

    def _standardised(self, x):
        return (x - self.x_mean_) / self.x_scale_

    def _vectors(self, X, *, complete=False):
        """What to answer for: vectors (n, feature) of the objects that have one, or of all."""
        check_is_fitted(self)
        rows = _rows(X)
        if rows is None:
            return validate_data(self, X, dtype=np.float64, reset=False)
        if self.provenance_ and _differ(given := _provenance(rows), self.provenance_):
            raise ProvenanceError(
                f"this head was fitted on embeddings of {_named(self.provenance_)} and is asked "
                f"about those of {_named(given)}. Embed with the former, or fit a head on the "
                "latter"
            )
        if rows.sizes["feature"] != self.n_features_in_:
            raise InputError(
                f"vectors of {rows.sizes['feature']} numbers: expected {self.n_features_in_}, as "
                "the head was fitted on"
            )
        strange = set(_modalities(rows)) - set(self.modalities_)
        if self.modalities_ and strange:
            # Allowed, as aligned modalities share a space, but not what was calibrated.
            log.warning(
                "a head that was fitted on embeddings of %s is asked about those of %s: its "
                "intervals were not made for them",
                " and ".join(self.modalities_), " and ".join(sorted(strange)),
            )  # fmt: skip
        if complete:
            return _complete(rows)
        return rows.values[rows.astroclip.valid.values].astype(np.float64)

    def _answer(self, X, columns):
        """Table of answers about embeddings; `columns` are of the objects that have a vector."""
        rows = _rows(X)
        valid = rows.astroclip.valid.values
        table = QTable(meta=dict(rows.attrs) | {"head": self.kind})
        table["object_id"] = rows.coords["object_id"].values
        for name, values in columns.items():
            table[name] = _spread(values, valid)
        table["quality"] = rows.coords["quality"].values
        table["reason"] = [
            "" if ok else ", ".join(Quality(int(bits)).names)
            for ok, bits in zip(valid, table["quality"], strict=True)
        ]
        return table


def load_head(path):
    """Read a head that `Head.save` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Head
        Fitted.

    Raises
    ------
    WeightsError
        If it is missing or damaged, holds something else, or values that are not finite.
    PluginError
        If no plugin provides its class.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.tasks import LinearHead, load_head
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> head = LinearHead().fit(x, x[:, 0])
    >>> with TemporaryDirectory() as folder:
    ...     head.save(Path(folder, "head.safetensors"))
    ...     again = load_head(Path(folder, "head.safetensors"))
    >>> bool((again.predict(x) == head.predict(x)).all())
    True
    """
    from astroclip_astro.plugins.manager import get_manager

    header, arrays = read_tensors(path, _FORMAT, "is no head")
    broken = [name for name, array in arrays.items() if not torch.isfinite(array).all()]
    if broken:
        raise WeightsError(f"{path} is damaged: {', '.join(broken)} is not finite")
    kind = header.get("kind", "")
    head = get_manager().load("task", kind)
    try:
        head = head(**json.loads(header["parameters"]))
        head._restore(arrays, json.loads(header["fitted"]))
        head._about()  # complains if something that was learned is missing
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} holds no {kind} head, or a damaged one: {error}") from error
    return head


def names_of(X):
    """Tell embeddings from plain vectors.

    Parameters
    ----------
    X : xarray.DataArray, astropy.table.Table or numpy.ndarray
        What a head was given.

    Returns
    -------
    numpy.ndarray or None
        Identifiers of embedded objects, str, shape (n,); None of plain vectors.
    """
    rows = _rows(X)
    return None if rows is None else rows.coords["object_id"].values


def quality_of(X):
    """Quality bits of the embedded objects that have a vector.

    Parameters
    ----------
    X : xarray.DataArray, astropy.table.Table or numpy.ndarray
        What a head was given.

    Returns
    -------
    numpy.ndarray or None
        Shape (n,), int64; None of plain vectors.
    """
    rows = _rows(X)
    return None if rows is None else rows.coords["quality"].values[rows.astroclip.valid.values]


def standard(values):
    """Mean and standard deviation of columns, 1 where these are constant but for rounding."""
    scaler = StandardScaler().fit(values)
    return scaler.mean_, scaler.scale_


def _rows(X):
    """Embeddings with dims ("object", "feature"), or None for a plain array."""
    if isinstance(X, Table):
        X = from_table(X)
    return X.astroclip.rows() if isinstance(X, xr.DataArray) else None


def _complete(rows):
    """Vectors of all objects; raise if one has none."""
    lost = np.flatnonzero(~rows.astroclip.valid.values)
    if lost.size:
        raise InputError(
            f"it has no vector, as {lost.size} of {len(rows)} objects; leave them out of X and y: "
            "X[X.astroclip.valid.values]",
            object_id=rows.coords["object_id"].values[lost[0]] or f"row {lost[0]}",
        )
    return rows.values.astype(np.float64)


def _modalities(rows):
    """Modalities of the objects that have a vector, sorted."""
    return sorted({str(m) for m in rows.coords["modality"].values[rows.astroclip.valid.values]})


def _provenance(rows):
    """What made the vectors, and what was made of their lengths."""
    found = rows.astroclip.provenance
    missing = [name for name in PROVENANCE if name not in found]
    if missing:
        raise ProvenanceError(
            f"embeddings without {', '.join(missing)}: an operation dropped their attributes. "
            "Keep them (xarray.set_options(keep_attrs=True)), or copy them from the original"
        )
    if "normalization" in rows.attrs:
        found["normalization"] = rows.attrs["normalization"]
    # Of another companion, vectors of the same modality mean something else.
    return found | {name: rows.attrs[name] for name in rows.attrs if name.startswith(COMPANION)}


def _differ(provenance, other):
    names = (*compared(provenance, other), "normalization")
    return any(provenance.get(name) != other.get(name) for name in names)


def _named(provenance):
    """Text that tells models apart."""
    return (
        f"{provenance['model']!r} (weights {provenance['weights_sha256'][:16]}, preprocessing "
        f"{provenance['preprocessing']}, "
        f"{provenance.get('normalization', 'vectors as they come')})"
    )


def _listed(value):
    """Numbers and arrays of NumPy, as JSON has them."""
    return value.tolist()


def _spread(values, valid):
    """Values of the valid objects as a column of all, masked elsewhere."""
    if valid.all():
        return values
    whole = np.zeros((len(valid), *values.shape[1:]), values.dtype)
    whole[valid] = np.asarray(values)
    lost = ~valid.reshape(-1, *[1] * (values.ndim - 1))
    whole = whole * values.unit if isinstance(values, u.Quantity) else whole
    return Masked(whole, np.broadcast_to(lost, whole.shape))
