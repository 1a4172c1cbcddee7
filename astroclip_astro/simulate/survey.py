"""A mock survey on disk: HDF5 shards of noiseless data, noise levels and truth."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty
from astropy.table import QTable
from specutils import Spectrum

from astroclip_astro.adapters.planes import tangent_wcs
from astroclip_astro.errors import InputError
from astroclip_astro.notebooks import progress_bar
from astroclip_astro.quality import Quality
from astroclip_astro.simulate.images import PIXEL_SCALE
from astroclip_astro.simulate.noise import observed_flux
from astroclip_astro.simulate.recipe import (
    IMAGE_NOISE,
    RECIPE_VERSION,
    SPECTRUM_NOISE,
    TRUTH,
    generator,
    recipe_hash,
    simulate_galaxy,
)
from astroclip_astro.simulate.spectra import load_bagpipes, require, wavelength_grid

__all__ = ["FLUX_UNIT", "MockSurvey", "observe"]

__doctest_requires__ = {("MockSurvey", "observe"): ["dust_extinction", "galsim", "speclite"]}

FLUX_UNIT = u.Unit(1e-17 * u.erg / u.s / u.cm**2 / u.AA)

DATASETS = ("spectrum", "spectrum_sigma", "image", "image_sigma")


class MockSurvey:
    """Simulated galaxies with known physics, each observable as often as wanted.

    What is stored is the noiseless spectrum and cutout of each galaxy and how noisy they are.
    Noisy data are made when asked for; the same survey, object and realisation always give the
    same data. Realisation 0 is the canonical one, others are further observations of the galaxy.

    Use `MockSurvey.generate` to make one and `MockSurvey.open` to read one.

    Parameters
    ----------
    path : path-like
        Folder of the shards.
    shards : list of pathlib.Path
        Finished shards, in order.

    Attributes
    ----------
    path : pathlib.Path
        Folder of the shards.
    seed : int
        What it was made from.
    recipe_hash : str
        Fingerprint of the recipe it was made by.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.simulate import MockSurvey
    >>> with TemporaryDirectory() as folder:
    ...     survey = MockSurvey.generate(folder, n=2, seed=1, n_jobs=1, progress=False)
    ...     spectrum, cutout = survey.spectrum(0), survey.cutout(0)
    >>> len(survey), spectrum.shape, cutout.shape
    (2, (7781,), (3, 152, 152))
    >>> survey.truth["age"].unit
    Unit("Gyr")
    """

    def __init__(self, path, shards):
        self.path = Path(path)
        self._shards = shards
        tables, made_with = [], set()
        for shard in shards:
            with h5py.File(shard, "r") as file:
                tables.append(file["truth"][()])
                made_with.add((int(file.attrs["seed"]), file.attrs["recipe_hash"]))
        if len(made_with) > 1:
            raise InputError(f"{path} mixes shards of several seeds or recipes: {made_with}")
        ((self.seed, self.recipe_hash),) = made_with
        self._truth = np.concatenate(tables)
        self._starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])])

    @classmethod
    def generate(cls, path, n, seed=0, n_jobs=None, shard_size=500, progress=True):
        """Simulate a survey, or finish one that was interrupted.

        Parameters
        ----------
        path : path-like
            Folder for the shards; made if absent.
        n : int
            Number of galaxies.
        seed : int
            With the number of an object it decides everything about it, whatever `n` and `n_jobs`.
        n_jobs : int, optional
            Processes; all processors by default. With 1 it runs in this process.
        shard_size : int
            Galaxies per file, 320 kB each.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        MockSurvey

        Raises
        ------
        ImportError
            If bagpipes, dust_extinction, GalSim or speclite is not installed.
        InputError
            If the folder holds a survey of another seed, recipe or shard size.

        Notes
        -----
        A shard is written under a temporary name and renamed when complete, so that an interrupted
        run loses one shard at most and the finished ones can be read meanwhile. With several
        processes, a script has to call this under ``if __name__ == "__main__":``.
        """
        if n < 1 or shard_size < 1:
            raise InputError(f"n={n}, shard_size={shard_size}: expected at least one galaxy")
        for module in ("galsim", "speclite", "dust_extinction"):
            require(module)
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        attributes = {
            "seed": seed,
            "shard_size": shard_size,
            "recipe_version": RECIPE_VERSION,
            "recipe_hash": recipe_hash(),
        }
        missing = [
            range(start, min(start + shard_size, n))
            for start in range(0, n, shard_size)
            if not _is_finished(_shard_path(path, start // shard_size), start, n, attributes)
        ]
        todo = [index for shard in missing for index in shard]
        with (
            _mapper(n_jobs or os.cpu_count()) as map_,
            progress_bar(progress=progress, total=n, initial=n - len(todo), unit="galaxy") as bar,
        ):
            galaxies = map_(partial(simulate_galaxy, seed), todo)
            for indices in missing:
                rows = []
                for galaxy in islice(galaxies, len(indices)):
                    rows.append(galaxy)
                    bar.update()
                start = indices.start
                _write_shard(_shard_path(path, start // shard_size), start, rows, attributes)
        return cls.open(path)

    @classmethod
    def open(cls, path):
        """Open a survey, finished or still being generated.

        Parameters
        ----------
        path : path-like
            Folder of the shards.

        Returns
        -------
        MockSurvey
            The finished shards.

        Raises
        ------
        InputError
            If there is none.
        """
        shards = sorted(Path(path).glob("shard-*.h5"))
        if not shards:
            raise InputError(
                f"{path} holds no finished shard (shard-*.h5); make a survey with "
                f"python -m astroclip_astro.simulate {path} --n 1000"
            )
        return cls(path, shards)

    @classmethod
    def bundled(cls):
        """Open the small survey that comes with the package.

        Returns
        -------
        MockSurvey
            Galaxies that the bundled model was not trained on.

        Examples
        --------
        >>> from astroclip_astro.simulate import MockSurvey
        >>> len(MockSurvey.bundled())
        40
        """
        return cls.open(Path(__file__).with_name("data"))

    def __len__(self):
        return len(self._truth)

    def __repr__(self):
        return f"<MockSurvey {str(self.path)!r}: {len(self)} galaxies, seed {self.seed}>"

    @property
    def truth_array(self):
        """The rows of `truth` as they are stored, a structured `numpy.ndarray` without units."""
        return self._truth

    @property
    def truth(self):
        """What is true of each galaxy, as an `astropy.table.QTable` with units."""
        table = QTable()
        for name, (_, unit, description) in TRUTH.items():
            values = self._truth[name]
            if values.dtype.kind == "S":
                values = values.astype(str)
            table[name] = values if unit is None else values * unit
            table[name].info.description = description
        table.meta["seed"] = self.seed
        return table

    def arrays(self, rows=slice(None)):
        """Noiseless data and noise levels of some galaxies, without any ceremony.

        Parameters
        ----------
        rows : slice or array_like of int
            Which galaxies, in any order.

        Returns
        -------
        dict of numpy.ndarray
            ``spectrum`` and ``spectrum_sigma`` (n, 7781), ``image`` (n, 3, 152, 152),
            ``image_sigma`` (n, 3), all float32, in the units of `spectrum` and `cutout`.

        Raises
        ------
        IndexError
            If there is no such galaxy.
        """
        picked = np.arange(len(self))[rows]
        with h5py.File(self._shards[0], "r") as file:
            arrays = {
                name: np.empty((len(picked), *file[name].shape[1:]), np.float32)
                for name in DATASETS
            }
        for shard, (low, high) in zip(self._shards, pairwise(self._starts), strict=True):
            place = np.flatnonzero((picked >= low) & (picked < high))
            if not place.size:
                continue
            # HDF5 wants rising rows without repeats.
            wanted, back = np.unique(picked[place] - low, return_inverse=True)
            first, last = wanted[0], wanted[-1]
            dense = slice(first, last + 1) if last - first + 1 == len(wanted) else wanted
            with h5py.File(shard, "r") as file:
                for name, array in arrays.items():
                    array[place] = file[name][dense][back]
        return arrays

    def spectrum(self, i, realisation=0):
        """Observed spectrum of a galaxy.

        Parameters
        ----------
        i : int
            Its row.
        realisation : int
            Which observation of it.

        Returns
        -------
        specutils.Spectrum
            7781 pixels in vacuum, 3600 to 9824 Å, flux in 1e-17 erg s-1 cm-2 Å-1 with
            `~astropy.nddata.InverseVariance`. The meta holds object_id, ra, dec, redshift, medium.
        """
        return _spectrum(*self._row(i), realisation)

    def cutout(self, i, realisation=0):
        """Observed cutout of a galaxy.

        Parameters
        ----------
        i : int
            Its row.
        realisation : int
            Which observation of it.

        Returns
        -------
        astropy.nddata.CCDData
            Shape (3, 152, 152), bands g, r, z, in nanomaggies (AB zeropoint 22.5), 0.262 arcsec per
            pixel, north up and east left, with a celestial WCS for the two last axes. The meta
            holds object_id, ra, dec, redshift, bands.
        """
        return _cutout(*self._row(i), realisation)

    def _row(self, i):
        if not -len(self) <= i < len(self):
            raise IndexError(f"galaxy {i} of a survey of {len(self)}")
        i %= len(self)
        shard = np.searchsorted(self._starts, i, side="right") - 1
        with h5py.File(self._shards[shard], "r") as file:
            row = i - self._starts[shard]
            data = {name: file[name][row].astype(np.float32) for name in DATASETS}
        return self._truth[i], data


def observe(galaxy, realisation=0):
    """Observe a galaxy as the survey that it belongs to does.

    Parameters
    ----------
    galaxy : MockGalaxy
        As `simulate_galaxy` returns it.
    realisation : int
        Which observation of it.

    Returns
    -------
    spectrum : specutils.Spectrum
        As `MockSurvey.spectrum` returns it.
    cutout : astropy.nddata.CCDData
        As `MockSurvey.cutout` returns it.

    Examples
    --------
    >>> from astroclip_astro.simulate import observe, simulate_galaxy
    >>> spectrum, cutout = observe(simulate_galaxy(seed=0, index=1))
    >>> spectrum.meta["object_id"], cutout.shape
    ('mock-0-0000001', (3, 152, 152))
    """
    (row,) = _rows([galaxy])
    data = {name: getattr(galaxy, name) for name in DATASETS}
    return _spectrum(row, data, realisation), _cutout(row, data, realisation)


def _spectrum(row, data, realisation):
    """Observed spectrum of a row of the truth, with its noiseless data."""
    rng = generator(*_number(row), SPECTRUM_NOISE, realisation)
    sigma = data["spectrum_sigma"]
    (flux,) = observed_flux(data["spectrum"][None], sigma[None], [row["sky_brightness"]], rng)
    return Spectrum(
        spectral_axis=wavelength_grid() * u.AA,
        flux=flux * FLUX_UNIT,
        uncertainty=InverseVariance(sigma.astype(np.float64) ** -2, unit=FLUX_UNIT**-2),
        meta={**_identity(row), "redshift": float(row["redshift"]), "medium": "vacuum"},
    )


def _cutout(row, data, realisation):
    """Observed cutout of a row of the truth, with its noiseless data."""
    rng = generator(*_number(row), IMAGE_NOISE, realisation)
    image, sigma = data["image"], data["image_sigma"][:, None, None]
    target = SkyCoord(row["ra"], row["dec"], unit="deg")
    flux = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    return CCDData(
        flux,
        unit=u.nmgy,
        uncertainty=StdDevUncertainty(np.broadcast_to(sigma, flux.shape).copy()),
        wcs=tangent_wcs(target, PIXEL_SCALE, image.shape[-2:]),
        meta={**_identity(row), "redshift": float(row["redshift"]), "bands": "grz"},
    )


def _number(row):
    """Seed and number of an object, which decide its noise."""
    return [int(part) for part in row["object_id"].rsplit(b"-", 2)[1:]]


def _rows(galaxies):
    """What is true of galaxies, as it is stored."""
    dtype = [(name, kind) for name, (kind, _, _) in TRUTH.items()]
    return np.array([tuple(g.truth[name] for name in TRUTH) for g in galaxies], dtype=dtype)


def _identity(row):
    return {
        "object_id": row["object_id"].decode(),
        "ra": float(row["ra"]),
        "dec": float(row["dec"]),
        "quality": Quality.GOOD if row["kind"] == b"galaxy" else Quality.NOT_A_GALAXY,
    }


def _shard_path(path, number):
    return path / f"shard-{number:05d}.h5"


def _is_finished(shard, start, n, attributes):
    """Whether a shard is there and whole; a shard of another survey is an error."""
    if not shard.exists():
        return False
    try:
        file = h5py.File(shard, "r")
    except OSError:  # truncated by a full or broken disk: it is made again
        return False
    with file:
        for name, wanted in attributes.items():
            if file.attrs[name] != wanted:
                raise InputError(
                    f"{shard} was made with {name}={file.attrs[name]}, this run has {wanted}; "
                    "choose another folder, or remove the old survey"
                )
        length = min(attributes["shard_size"], n - start)
        return all(len(file[name]) >= length for name in (*DATASETS, "truth"))


def _write_shard(path, start, galaxies, attributes):
    """Write one shard so that it appears under its name only when it is complete."""
    part = path.with_suffix(".part")
    with h5py.File(part, "w") as file:
        file.attrs.update(attributes, start=start)
        for name in DATASETS:
            file[name] = np.stack([getattr(g, name) for g in galaxies])
        file["spectrum"].attrs["unit"] = file["spectrum_sigma"].attrs["unit"] = str(FLUX_UNIT)
        file["image"].attrs["unit"] = file["image_sigma"].attrs["unit"] = str(u.nmgy)
        file["truth"] = _rows(galaxies)
        for name, (_, unit, description) in TRUTH.items():
            text = description if unit is None else f"{description} [{unit}]"
            file["truth"].attrs[name] = text
    with part.open("rb+") as handle:
        os.fsync(handle.fileno())
    part.replace(path)


@contextmanager
def _mapper(n_jobs):
    """Provide a lazy, ordered ``map`` over `n_jobs` processes of one thread each."""
    if n_jobs == 1:
        yield map
        return
    # bagpipes writes a table beside its own files when it is first imported: not in all at once.
    load_bagpipes()
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in threads}
    os.environ.update(dict.fromkeys(threads, "1"))
    # Spawned rather than forked: torch and HDF5 do not survive a fork with threads.
    # Ctrl-C goes to every process of a terminal; this one ends the others.
    pool = ProcessPoolExecutor(
        n_jobs, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    )
    try:
        yield partial(pool.map, chunksize=5)
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
