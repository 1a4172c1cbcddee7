"""The data set that the published AstroCLIP was trained on: pairs in one HDF5 file."""

from pathlib import Path

import h5py
import numpy as np
import torch

from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.training.sources.grids import crop, spectra_on_grid
from astroclip_astro.training.sources.shards import ShardedSource
from astroclip_astro.training.sources.tables import different, properties, read_table

__all__ = ["PublishedSource"]

_DATASETS = {"image": "images", "spectrum": "spectra"}
_SCALE = ImagePreprocessing().pixel_scale
_GRID = SpectrumPreprocessing()

#: The first part of each group that the paper trained on.
_TRAINED_ON = 0.8


class PublishedSource(ShardedSource):
    """DESI spectra and Legacy Survey cutouts of some 150,000 galaxies.

    The file has groups ``"0"`` to ``"9"``, each with ``images`` (n, 152, 152, 3) in nanomaggies of
    g, r, z, ``spectra`` (n, 7781) or (n, 7781, 1) on DESI's grid in 1e-17 erg s-1 cm-2 Å-1,
    ``redshifts`` and ``targetids`` (n,).

    Parameters
    ----------
    path : path-like
        The file, ``astroclip_desi.1.1.5.h5``.
    properties : path-like or astropy.table.Table, optional
        Further properties, and positions as ``ra`` and ``dec``, in rows with a ``targetid``. Its
        columns are named as in `astroclip_astro.training.batch.TARGETS`. Galaxies that are not in
        it are NaN.

    Attributes
    ----------
    held_out : numpy.ndarray
        Shape (N,), bool: the last fifth of each group, on which the paper tests.

    Raises
    ------
    InputError
        If the file has not this layout, or the table no column targetid.

    Notes
    -----
    Images are stored with rows and columns swapped, and are swapped back. Spectra come without
    uncertainties: their ivar is 1 where the flux is finite. A galaxy that stands twice in the file
    has ``[1]`` behind its name the second time.

    Examples
    --------
    >>> import h5py, numpy as np, torch
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.training.sources.published import PublishedSource
    >>> with TemporaryDirectory() as folder:
    ...     with h5py.File(f"{folder}/pairs.h5", "w") as file:
    ...         file["0/images"] = np.ones((2, 152, 152, 3), "f4")
    ...         file["0/spectra"] = np.ones((2, 7781, 1), "f4")
    ...         file["0/redshifts"], file["0/targetids"] = [0.1, 0.2], [39627, 39628]
    ...     source = PublishedSource(f"{folder}/pairs.h5")
    ...     batch = source.read(np.array([1]), torch.Generator())
    >>> batch.object_id, batch.targets["redshift"], batch.image.shape
    (array(['39628'], dtype='<U5'), tensor([0.2000]), torch.Size([1, 3, 152, 152]))
    """

    name = "published"

    def __init__(self, path, preprocessing=None, *, properties=None, errors="raise"):
        super().__init__(preprocessing, errors=errors)
        self._offer(("image", "spectrum"))
        _check_pixels(self.preprocessing.get("image"))
        path = Path(path)
        targetid, redshift, trained = [], [], []
        groups = []
        try:
            with h5py.File(path, "r") as file:
                groups = sorted((name for name in file if name.isdigit()), key=int)
                for name in groups:
                    group = file[name]
                    targetid.append(group["targetids"][()])
                    redshift.append(group["redshifts"][()].astype(np.float64))
                    n = len(targetid[-1])
                    trained.append(np.arange(n) < int(_TRAINED_ON * n))
                    for one in sorted(self.modalities):
                        if len(group[_DATASETS[one]]) != n:
                            raise InputError(
                                f"{path}: group {name} has {len(group[_DATASETS[one]])} "
                                f"{_DATASETS[one]} and {n} targetids: expected as many"
                            )
        except (OSError, KeyError) as error:
            raise InputError(
                f"{path}: not the published pairs ({error}); expected groups '0' to '9' with "
                "images, spectra, redshifts and targetids"
            ) from error
        if not groups:
            raise InputError(f"{path}: no group '0' to '9': expected the published pairs")
        self._set_shards([(path, name) for name in groups], [len(part) for part in targetid])
        targetid = np.concatenate(targetid).astype(np.int64)
        self.object_id = different(targetid.astype(str).tolist())
        self.held_out = ~np.concatenate(trained)
        self.targets = {"redshift": np.concatenate(redshift)}
        self.ra, self.dec = np.full((2, len(targetid)), np.nan)
        if properties is not None:
            self._join(targetid, properties)

    def _join(self, targetid, table):
        table = read_table(table)
        if "targetid" not in table.colnames:
            raise InputError(
                f"table of properties with columns {', '.join(table.colnames)}: expected targetid"
            )
        wanted, first = np.unique(np.asarray(table["targetid"], np.int64), return_index=True)
        at = np.searchsorted(wanted, targetid).clip(max=len(wanted) - 1)
        known = wanted[at] == targetid
        joined = {
            name: np.where(known, values[first[at]], np.nan)
            for name, values in properties(table, exclude=("targetid", "redshift")).items()
        }
        self.ra, self.dec = joined.pop("ra", self.ra), joined.pop("dec", self.dec)
        self.targets |= joined

    def read(self, rows, generator):
        """Read objects; see `Source.read`.

        Parameters
        ----------
        rows : numpy.ndarray
            Which, shape (B,), int64.
        generator : torch.Generator
            Not used: the noise is in the data.

        Returns
        -------
        TrainingBatch
        """
        names = {one: _DATASETS[one] for one in self.modalities}
        rows, found = self._read_rows(rows, names.values(), self._convert)
        tensors = {}
        if "spectrum" in names:
            flux = [one["spectrum"] for one in found]
            ivar = [np.isfinite(one).astype(np.float32) for one in flux]
            grid = self.preprocessing["spectrum"]
            flux, ivar = spectra_on_grid([_GRID.edges] * len(rows), flux, ivar, grid)
            tensors |= {"spectrum": flux, "spectrum_ivar": ivar}
        if "image" in names:
            tensors["image"] = torch.from_numpy(
                np.array([one["image"] for one in found], np.float32)
            ).reshape(len(rows), 3, *2 * (self.preprocessing["image"].size,))
        return self._batch(rows, **tensors)

    def _convert(self, data):
        converted = {}
        if "spectra" in data:
            flux = data["spectra"].reshape(-1)
            if len(flux) != _GRID.n_pixels:
                raise InputError(f"a spectrum of {len(flux)} pixels: expected {_GRID.n_pixels}")
            if not np.nan_to_num(flux).any():
                raise InputError("its spectrum is empty: 0 or not finite in all pixels")
            converted["spectrum"] = flux
        if "images" in data:
            image = crop(data["images"].transpose(2, 1, 0), self.preprocessing["image"])
            if not (np.isfinite(image).all() and image.any((1, 2)).all()):
                raise InputError("a band of its image is empty, or a pixel is not finite")
            converted["image"] = image
        return converted


def _check_pixels(image):
    if image is not None and (
        image.bands != ("g", "r", "z") or not np.isclose(image.pixel_scale, _SCALE)
    ):
        raise InputError(
            f"{image}: the published cutouts are in g, r, z at {_SCALE} arcsec per pixel; expected "
            "the same of the model"
        )
