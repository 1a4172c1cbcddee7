"""Data sets of the Multimodal Universe: HDF5 files in folders by HEALPix pixel."""

from pathlib import Path

import h5py
import numpy as np
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.training.batch import TARGETS
from astroclip_astro.training.image_augment import border_noise
from astroclip_astro.training.sources.grids import bin_edges, crop, spectra_on_grid
from astroclip_astro.training.sources.shards import ShardedSource
from astroclip_astro.training.sources.tables import different

__all__ = ["MultimodalUniverseSource"]

# Nanomaggies: keeps the weight of an image without any noise finite.
_LEAST_NOISE = 1e-6

# Flags of redshifts that are not to be trusted: DESI's and SDSS's.
_WARNINGS = ("zwarn", "zwarning")

# What datasets hold in one version or another of the layout; the first one that is there counts.
_DATASETS = {
    "flux": ("spectrum_flux",),
    "ivar": ("spectrum_ivar",),
    "mask": ("spectrum_mask",),
    "wavelength": ("spectrum_lambda",),
    "lowest": ("spectrum_lambda_min",),
    "highest": ("spectrum_lambda_max",),
    "image": ("image_array", "image_flux"),
    "image_ivar": ("image_ivar",),
    "clean": ("bit_mask", "image_mask"),
    "band": ("image_band",),
    "scale": ("image_scale",),
}
_OF = {
    "spectrum": ("flux", "ivar", "mask", "wavelength", "lowest", "highest"),
    "image": ("image", "image_ivar", "clean", "band", "scale"),
}


class MultimodalUniverseSource(ShardedSource):
    """Galaxies of one data set, such as ``desi/edr_sv3`` or ``legacysurvey/dr10_south_21``.

    Its folder holds ``healpix=*/*.hdf5``, each file with ``object_id`` (or ``TARGETID``), ``ra``,
    ``dec`` and a catalogue, and data:

    - ``spectrum_flux`` (1e-17 erg s-1 cm-2 Å-1), ``spectrum_ivar``, ``spectrum_mask`` (True where
      bad), shape (n, pixels), at the vacuum wavelengths ``spectrum_lambda`` (n, pixels), -1 in
      padding, or evenly from ``spectrum_lambda_min`` to ``spectrum_lambda_max`` (n,) in Å;
    - ``image_array`` (nanomaggies), ``image_ivar``, shape (n, band, row, column), with
      ``image_band`` ("des-g", …) and ``image_scale`` (arcsec per pixel), shape (n, band), and
      ``bit_mask`` or ``image_mask`` (n, row, column), True where good.

    The layout is that of https://github.com/MultimodalUniverse/MultimodalUniverse.

    Parameters
    ----------
    path : path-like
        The folder. For the other parameters see `Source`.

    Raises
    ------
    InputError
        If there is no such file in the folder, or one of them has not this layout.

    Notes
    -----
    Redshifts are those of the column ``Z``, NaN where ``ZWARN`` or ``ZWARNING`` is not 0. Columns
    named as in `astroclip_astro.training.batch.TARGETS` are taken, too. Spectra are resampled as
    `astroclip_astro.embed` does it, cutouts are to be on the model's pixels. Pixels of images that
    were not observed are filled from around; those that are not good have no weight. Where a mask
    comes without ``image_ivar``, the weight of good pixels is that of the noise at the image's
    border (`astroclip_astro.training.image_augment.border_noise`).

    Examples
    --------
    >>> import h5py, numpy as np, torch
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.training.sources.multimodal_universe import MultimodalUniverseSource
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "healpix=7").mkdir()
    ...     with h5py.File(f"{folder}/healpix=7/001-of-001.hdf5", "w") as file:
    ...         file["object_id"], file["ra"], file["dec"], file["Z"] = [39], [1.0], [2.0], [0.1]
    ...         file["spectrum_flux"] = file["spectrum_ivar"] = np.ones((1, 4000))
    ...         file["spectrum_lambda"] = np.linspace(3600, 9800, 4000)[None]
    ...     source = MultimodalUniverseSource(folder)
    ...     batch = source.read(np.array([0]), torch.Generator())
    >>> source
    <MultimodalUniverseSource '...': 1 objects, spectrum>
    >>> batch.object_id, batch.targets["redshift"], batch.spectrum.shape
    (array(['39'], dtype='<U2'), tensor([0.1000]), torch.Size([1, 7781, 1]))
    """

    def __init__(self, path, preprocessing=None, *, errors="raise"):
        super().__init__(preprocessing, errors=errors)
        path = Path(path)
        self.name = path.name
        files = sorted(file for ending in ("hdf5", "h5") for file in path.rglob(f"*.{ending}"))
        if not files:
            raise InputError(
                f"{path}: no HDF5 file in it; expected healpix=*/*.hdf5 of a data set of the "
                "Multimodal Universe"
            )
        catalogues = [_catalogue(file) for file in files]
        for file, one in zip(files, catalogues, strict=True):
            if one["datasets"].keys() != catalogues[0]["datasets"].keys():
                raise InputError(f"{file}: other data sets than in {files[0]}; expected the same")
        self._datasets = catalogues[0]["datasets"]
        needed = {"spectrum": {"flux", "ivar"}, "image": {"image", "band", "scale"}}
        present = [one for one in sorted(needed) if needed[one] <= self._datasets.keys()]
        if not present:
            raise InputError(
                f"{files[0]}: neither spectra nor images; expected spectrum_flux and "
                "spectrum_ivar, or image_array, image_band and image_scale"
            )
        self._offer(present)
        self._set_shards([(file, "/") for file in files], [len(one["id"]) for one in catalogues])
        self.object_id = different(name for one in catalogues for name in one["id"])
        columns = dict.fromkeys(name for one in catalogues for name in one["columns"])
        for name in columns:
            columns[name] = np.concatenate(
                [one["columns"].get(name, np.full(len(one["id"]), np.nan)) for one in catalogues]
            )
        unknown = np.full(len(self.object_id), np.nan)
        self.ra, self.dec = (columns.pop(name, unknown) for name in ("ra", "dec"))
        self.targets = columns

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
        rows, found = self._read_rows(rows, self._wanted().values(), self._convert)
        tensors = {}
        if "spectrum" in self.modalities:
            columns = [[one[key] for one in found] for key in ("edges", "flux", "ivar")]
            flux, ivar = spectra_on_grid(*columns, self.preprocessing["spectrum"])
            tensors |= {"spectrum": flux, "spectrum_ivar": ivar}
        if "image" in self.modalities:
            wanted = self.preprocessing["image"]
            shape = len(rows), len(wanted.bands), wanted.size, wanted.size
            for key in ("image", "image_ivar"):
                if all(key in one for one in found):
                    array = np.array([one[key] for one in found], np.float32)
                    tensors[key] = torch.from_numpy(array.reshape(shape))
        return self._batch(rows, **tensors)

    def _wanted(self):
        """What is to be read, and the data set that it is in."""
        keys = [key for one in sorted(self.modalities) for key in _OF[one]]
        return {key: self._datasets[key] for key in keys if key in self._datasets}

    def _convert(self, data):
        data = {key: data[name] for key, name in self._wanted().items()}
        converted = {}
        if "spectrum" in self.modalities:
            converted |= self._spectrum(data)
        if "image" in self.modalities:
            converted |= self._image(data)
        return converted

    def _spectrum(self, data):
        flux, ivar = data["flux"].reshape(-1), data["ivar"].reshape(-1).copy()
        if "wavelength" in data:
            wavelength = data["wavelength"].reshape(-1).astype(np.float64)
        elif "lowest" in data and "highest" in data:
            wavelength = np.linspace(float(data["lowest"]), float(data["highest"]), len(flux))
        else:
            raise InputError("no wavelengths: expected spectrum_lambda, or its _min and _max")
        if "mask" in data:
            ivar[data["mask"].reshape(-1).astype(bool)] = 0
        real = wavelength > 0
        flux, ivar, wavelength = flux[real], ivar[real], wavelength[real]
        grid = self.preprocessing["spectrum"].edges
        usable = np.isfinite(flux) & (ivar > 0) & (wavelength > grid[0]) & (wavelength < grid[-1])
        if not usable.any():
            raise InputError("no usable pixel on the model's grid: masked, or without weight")
        return {"edges": bin_edges(wavelength), "flux": flux, "ivar": ivar}

    def _image(self, data):
        from astroclip_astro.adapters.cutout import fill_holes  # imports reproject, which is slow

        wanted = self.preprocessing["image"]
        names = [band.decode() if isinstance(band, bytes) else str(band) for band in data["band"]]
        letters = [name.lower().rsplit("-", 1)[-1] for name in names]
        if missing := [band for band in wanted.bands if band not in letters]:
            raise InputError(f"band {', '.join(missing)} is missing; it has {', '.join(names)}")
        at = [letters.index(band) for band in wanted.bands]
        scale = np.asarray(data["scale"], np.float64)[at]
        if not np.allclose(scale, wanted.pixel_scale, rtol=1e-3):
            raise InputError(
                f"pixels of {scale.max():.3f} arcsec: expected {wanted.pixel_scale} arcsec; "
                "resample the data set, or read its files with astroclip_astro.embed"
            )
        image = crop(np.asarray(data["image"], np.float64)[at], wanted)
        bad = ~np.isfinite(image)
        ivar = None
        if "image_ivar" in data:
            ivar = np.nan_to_num(crop(data["image_ivar"][at], wanted), posinf=0, neginf=0)
            bad |= ~(ivar > 0)
        if bad.all((1, 2)).any():
            raise InputError("a band of its image has no pixel that was observed")
        image = np.stack([fill_holes(plane, hole) for plane, hole in zip(image, bad, strict=True)])
        good = ~bad
        if "clean" in data:
            good &= crop(np.asarray(data["clean"], bool), wanted)
            if ivar is None:
                noise = border_noise(torch.from_numpy(image)[None])[0].numpy()
                ivar = np.maximum(noise, _LEAST_NOISE)[:, None, None] ** -2.0
        if ivar is None:
            return {"image": image}
        return {"image": image, "image_ivar": np.where(good, ivar, 0)}


def _catalogue(path):
    """Names, numbers and available data of the objects in a file."""
    try:
        with h5py.File(path, "r") as file:
            names = {name.lower(): name for name in file}
            key = next((names[one] for one in ("object_id", "targetid") if one in names), None)
            if key is None:
                raise InputError(f"{path}: no object_id; expected the Multimodal Universe's layout")
            ids = [i.decode() if isinstance(i, bytes) else str(i) for i in file[key][()].tolist()]
            columns = {
                one: file[names[one]][()].astype(np.float64)
                for one in ("ra", "dec", *TARGETS)
                if one in names
            }
            if "z" in names and "redshift" not in columns:
                columns["redshift"] = file[names["z"]][()].astype(np.float64)
            for flag in _WARNINGS:
                if flag in names and "redshift" in columns:
                    columns["redshift"][file[names[flag]][()] != 0] = np.nan
            datasets = {
                key: next(name for name in known if name in file)
                for key, known in _DATASETS.items()
                if any(name in file for name in known)
            }
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({error})") from error
    return {"id": [name.strip() for name in ids], "columns": columns, "datasets": datasets}
