"""The mock survey as a source of training data, with fresh noise in every reading."""

import h5py
import numpy as np
import torch

from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError
from astroclip_astro.simulate.images import IMAGE_SIZE, PIXEL_SCALE
from astroclip_astro.simulate.noise import observed_flux
from astroclip_astro.simulate.survey import MockSurvey
from astroclip_astro.training.batch import TARGETS
from astroclip_astro.training.sources.grids import crop, spectra_on_grid
from astroclip_astro.training.sources.shards import ShardedSource
from astroclip_astro.training.split import held_out

__all__ = ["MOCK_TARGETS", "MockSource"]

#: Truth of galaxies that the source gives as targets: physics, morphology and brightness.
MOCK_TARGETS = (*TARGETS, "bulge_to_total", "axis_ratio", "n_arms", "bar_fraction", "mag_r")

# The mocks' own grid is that of DESI's coadds, the default.
_EDGES = SpectrumPreprocessing().edges

_SHAPES = {
    "spectrum": (len(_EDGES) - 1,),
    "spectrum_sigma": (len(_EDGES) - 1,),
    "image": (3, IMAGE_SIZE, IMAGE_SIZE),
    "image_sigma": (3,),
}


class MockSource(ShardedSource):
    """Simulated galaxies, observed anew each time that they are read.

    Parameters
    ----------
    survey : MockSurvey or path-like
        The survey, or its folder. Shards finished later are not seen. For the other parameters see
        `Source`.

    Raises
    ------
    InputError
        If there is no survey, or cutouts on larger or other pixels, or in other bands than the
        mocks' are asked for.

    Attributes
    ----------
    held_out : numpy.ndarray
        Shape (N,), bool: objects that `astroclip_astro.training.split.held_out` keeps aside.

    Notes
    -----
    Stars and quasars are among the objects; all their targets are NaN.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from astroclip_astro.simulate import MockSurvey
    >>> from astroclip_astro.training.sources.mocks import MockSource
    >>> source = MockSource(MockSurvey.bundled())
    >>> source
    <MockSource 'mocks': 40 objects, image and spectrum>
    >>> batch = source.read(np.array([7, 2]), torch.Generator().manual_seed(0))
    >>> batch.spectrum.shape, batch.image.shape
    (torch.Size([2, 7781, 1]), torch.Size([2, 3, 152, 152]))
    """

    name = "mocks"
    simulated = True

    def __init__(self, survey, preprocessing=None, *, errors="raise"):
        super().__init__(preprocessing, errors=errors)
        self._offer(("image", "spectrum"))
        if "image" in self.modalities:
            wanted = self.preprocessing["image"]
            if wanted.bands != ("g", "r", "z") or not np.isclose(wanted.pixel_scale, PIXEL_SCALE):
                raise InputError(
                    f"{wanted}: mocks are in g, r, z at {PIXEL_SCALE} arcsec per pixel; expected "
                    "the same of the model"
                )
        if not isinstance(survey, MockSurvey):
            survey = MockSurvey.open(survey)
        truth = survey.truth_array
        shards, lengths = [], []
        for path in sorted(survey.path.glob("shard-*.h5")):
            if sum(lengths) < len(truth):
                with h5py.File(path, "r") as file:
                    shards.append((path, "/"))
                    lengths.append(len(file["truth"]))
        self._set_shards(shards, lengths)
        self._sky_brightness = truth["sky_brightness"].astype(np.float64)
        self.object_id = truth["object_id"].astype(str)
        self.ra, self.dec = truth["ra"].astype(np.float64), truth["dec"].astype(np.float64)
        galaxy = truth["kind"] == b"galaxy"
        self.targets = {name: np.where(galaxy, truth[name], np.nan) for name in MOCK_TARGETS}
        self.held_out = held_out(len(truth))

    def read(self, rows, generator):
        """Observe objects; see `Source.read`.

        Parameters
        ----------
        rows : numpy.ndarray
            Which, shape (B,), int64.
        generator : torch.Generator
            Decides the noise.

        Returns
        -------
        TrainingBatch
        """
        names = [name for one in sorted(self.modalities) for name in (one, f"{one}_sigma")]
        rows, found = self._read_rows(rows, names)
        data = {
            name: np.array([one[name] for one in found], np.float32).reshape(len(rows), *shape)
            for name, shape in _SHAPES.items()
            if name in names
        }
        # Always drawn, so that the noise of spectra does not hang on whether images are read.
        seeds = torch.randint(2**62, (2,), generator=generator).tolist()
        tensors = {}
        if "spectrum" in self.modalities:
            tensors |= self._spectra(rows, data, np.random.default_rng(seeds[0]))
        if "image" in self.modalities:
            tensors |= self._images(data, np.random.default_rng(seeds[1]))
        return self._batch(rows, **tensors)

    def _spectra(self, rows, data, rng):
        sigma = data["spectrum_sigma"]
        flux = observed_flux(data["spectrum"], sigma, self._sky_brightness[rows], rng)
        edges = [_EDGES] * len(rows)
        flux, ivar = spectra_on_grid(edges, flux, sigma**-2, self.preprocessing["spectrum"])
        return {"spectrum": flux, "spectrum_ivar": ivar}

    def _images(self, data, rng):
        image = crop(data["image"], self.preprocessing["image"])
        sigma = data["image_sigma"][:, :, None, None]
        image = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
        ivar = np.broadcast_to(sigma**-2, image.shape).copy()
        return {"image": torch.from_numpy(image), "image_ivar": torch.from_numpy(ivar)}
