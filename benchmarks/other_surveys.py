"""How near an HSC or an SDSS image of a galaxy embeds to its Legacy Surveys image.

Galaxies of a mock survey are drawn as the Legacy Surveys, HSC-SSP Wide and SDSS would see them,
written as files of these surveys, read through the plugins astroclip-hsc and astroclip-sdss, and
embedded. Of each the rank of its own Legacy image among all Legacy images by cosine is taken; then
again as the plugins' surveys of the Legacy depth give it. What the surveys differ in is also
changed one by one, the rest being as in the Legacy Surveys.
"""

import shutil
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import astropy.units as u
import click
import numpy as np
from astroclip_hsc.survey import HSC
from astroclip_sdss.frames import cut_frames
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from header import print_header
from speclite import filters

import astroclip_astro as aa
from astroclip_astro.adapters.planes import tangent_wcs
from astroclip_astro.simulate.images import (
    DEPTH,
    PIXEL_SCALE,
    SEEING,
    ObservingConditions,
    pixel_sigma,
)
from astroclip_astro.simulate.recipe import simulate_galaxy, simulate_image
from astroclip_astro.simulate.spectra import wavelength_grid

TARGET = SkyCoord("150d 2d")
FINER = 2  # pixels of the mocks' along each of DECam's
BATCH = 25

# Seeing (FWHM, arcsec) and 5-sigma point-source depth (AB) in g, r, z. HSC Wide: Aihara et al.
# (2019, PASJ 71, 114), Table 2. SDSS: depths of York et al. (2000, AJ 120, 1579), Table 1, which
# are for a seeing of 1 arcsec; r seeing, the median of the DR7 imaging quality page, taken to the
# other bands as wavelength^-0.3 (Xin et al. 2018, AJ 156, 222).
HSC_SEEING, HSC_DEPTH = np.array([0.77, 0.76, 0.68]), np.array([26.6, 26.2, 25.3])
SDSS_SEEING = 1.43 * (np.array([4760, 6280, 9250]) / 6280) ** -0.3
SDSS_DEPTH, SDSS_DEPTH_SEEING = np.array([23.3, 23.1, 20.8]), np.ones(3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """What a survey does to the light of a galaxy."""

    name: str
    pixel_scale: float
    seeing: ObservingConditions
    depth: ObservingConditions
    passbands: tuple
    write: object
    surveys: tuple


def write_hsc(images, sigma, scale, folder, _rng):
    """Write three cutouts as the service names them; return the path to embed."""
    folder.mkdir()
    header = tangent_wcs(TARGET, scale, images.shape[-2:]).to_header()
    for band, image, noise in zip("GRZ", images, sigma, strict=True):
        primary = fits.PrimaryHDU()
        primary.header.update(FILTER=f"HSC-{band}", FLUXMAG0=63095734448.0194)
        counts = 10 ** (0.4 * (HSC.zeropoint - 22.5))
        mask = fits.ImageHDU(np.zeros(image.shape, np.int32), header)
        mask.header["MP_SAT"] = 1
        variance = np.full(image.shape, (noise * counts) ** 2, np.float32)
        hdus = [fits.ImageHDU((image * counts).astype(np.float32), header), mask]
        hdus.append(fits.ImageHDU(variance, header))
        for kind, hdu in zip(("IMAGE", "MASK", "VARIANCE"), hdus, strict=True):
            hdu.header["EXTTYPE"] = kind
        fits.HDUList([primary, *hdus]).writeto(folder / f"cutout-HSC-{band}-9813-pdr2_wide.fits")
    return folder / "cutout-HSC-R-9813-pdr2_wide.fits"


def write_sdss(images, sigma, scale, folder, rng):
    """Write a cutout of frames, with more sky around it; return the path to embed."""
    folder.mkdir()
    margin = 120
    shape = [n + 2 * margin for n in images.shape[-2:]]
    header = tangent_wcs(TARGET, scale, shape).to_header()
    frames = []
    for band, image, noise in zip("grz", images, sigma, strict=True):
        frame = noise * rng.standard_normal(shape)
        frame[margin:-margin, margin:-margin] = image
        hdu = fits.PrimaryHDU(frame.astype(np.float32), header)
        hdu.header.update(FILTER=band, BUNIT="nanomaggies", RUN=1, CAMCOL=1, FRAME=1)
        frames.append(fits.HDUList([hdu]))
    cut_frames(frames, TARGET).writeto(folder / "galaxy.fits")
    return folder / "galaxy.fits"


CAMERAS = (
    Camera(
        name="HSC",
        pixel_scale=0.168,
        seeing=ObservingConditions(seeing=HSC_SEEING, depth=HSC_DEPTH),
        depth=ObservingConditions(seeing=HSC_SEEING, depth=HSC_DEPTH),
        passbands=("hsc2017-g", "hsc2017-r2", "hsc2017-z"),
        write=write_hsc,
        surveys=("hsc", "hsc-legacy-depth"),
    ),
    Camera(
        name="SDSS",
        pixel_scale=0.396,
        seeing=ObservingConditions(seeing=SDSS_SEEING, depth=SDSS_DEPTH),
        depth=ObservingConditions(seeing=SDSS_DEPTH_SEEING, depth=SDSS_DEPTH),
        passbands=("sdss2010-g", "sdss2010-r", "sdss2010-z"),
        write=write_sdss,
        surveys=("sdss-image", "sdss-image-legacy-depth"),
    ),
)

#: What is the survey's in each row of the table; the rest is as in the Legacy Surveys.
PARTS = {
    "all": ("seeing", "depth", "pixels", "filters"),
    "pixels": ("pixels",),
    "filters": ("filters",),
    "depth": ("depth",),
    "seeing": ("seeing",),
    "all but the seeing": ("depth", "pixels", "filters"),
    "all but the depth": ("seeing", "pixels", "filters"),
    "all but seeing and depth": ("pixels", "filters"),
}


@lru_cache
def overlap(n, scale):
    """Share of each fine pixel of the mocks in each of n pixels about the same middle."""
    fine = PIXEL_SCALE / FINER
    edges = (np.arange(n + 1) - n / 2) * scale
    borders = (np.arange(152 * FINER + 1) - 76 * FINER) * fine
    low = np.maximum(edges[:-1, None], borders[:-1])
    return np.clip(np.minimum(edges[1:, None], borders[1:]) - low, 0, None) / fine


def observe(galaxy, fine, camera, parts, rng, folder):
    """Noisy image of a galaxy, in a file of a survey; return its path."""
    scale = camera.pixel_scale if "pixels" in parts else PIXEL_SCALE
    matrix = overlap(int(152 * PIXEL_SCALE / scale + 0.01), scale)
    images = matrix @ fine[camera.name if "seeing" in parts else "own"] @ matrix.T
    # Sky noise per pixel goes with the side of a pixel.
    sigma = pixel_sigma(camera.depth) if "depth" in parts else galaxy.image_sigma
    sigma = sigma * scale / PIXEL_SCALE
    if "filters" in parts:
        images = images * filter_ratios(galaxy.spectrum, camera)[:, None, None]
    images = images + sigma[:, None, None] * rng.standard_normal(images.shape)
    return camera.write(images, sigma, scale, folder, rng)


def filter_ratios(spectrum, camera):
    """Flux of a galaxy through a survey's filters over that through DECam's, in g, r, z."""
    decam = through(spectrum, ("decam2014-g", "decam2014-r", "decam2014-z"))
    return through(spectrum, camera.passbands) / decam


def through(spectrum, passbands):
    loaded = filters.load_filters(*passbands)
    flux = spectrum * 1e-17 * u.erg / u.s / u.cm**2 / u.AA
    # DESI's spectra end within z: beyond, the last value goes on.
    flux, wavelength = loaded.pad_spectrum(flux, wavelength_grid() * u.AA, method="edge")
    maggies = loaded.get_ab_maggies(flux, wavelength)[0]
    return np.array([float(maggies[name]) for name in loaded.names])


def embed(items, model, survey=None):
    vectors = np.asarray(aa.embed(items, model=model, survey=survey, progress=False))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ranks(vectors, gallery):
    """Place of each one's own among all of a gallery, from 1."""
    cosines = vectors @ gallery.T
    own = np.diag(cosines)
    return 1 + (cosines > own[:, None]).sum(1), own


def print_row(label, vectors, gallery):
    place, own = ranks(vectors, gallery)
    first = max(1, len(gallery) // 100)
    print(
        f"{label:36s}{np.mean(place <= first):9.1%}{np.mean(place == 1):9.1%}"
        f"{np.median(place):9.0f}{np.quantile(place, 0.9):9.0f}{np.median(own):9.4f}"
    )


@click.command()
@click.option("--n", default=1000, show_default=True, help="Galaxies with a Legacy image.")
@click.option("--queries", default=300, show_default=True, help="Of them seen by the others, too.")
@click.option("--seed", default=2027, show_default=True, help="Of the mock survey.")
@click.option("--model", default=None, help="Name or path; default: the bundled model.")
def main(n, queries, seed, model):
    print_header("torch", "galsim", "astroclip-hsc", "astroclip-sdss")
    galaxies = islice(galaxies_of(seed), n)
    legacy, again, fainter = [], [], {camera.name: [] for camera in CAMERAS}
    others = {(camera, part): [] for camera in CAMERAS for part in PARTS}
    matched = {camera: [] for camera in CAMERAS}
    with TemporaryDirectory() as folder:
        while batch := list(islice(galaxies, BATCH)):
            vectors = embed([cut for g in batch for cut in legacy_cutouts(*g)], model)
            seen = batch[: max(0, queries - len(legacy))]
            legacy.extend(vectors[::2])
            again.extend(vectors[1::2])
            for camera in CAMERAS:
                fainter[camera.name] += [filter_ratios(g.spectrum, camera) for g, *_ in seen]
            draws = [draw_all(seed, index) for _, index, _ in seen]
            for (camera, part), found in others.items():
                paths = [
                    observe(g, fine, camera, PARTS[part], rng, Path(folder) / str(index))
                    for (g, index, rng), fine in zip(seen, draws, strict=True)
                ]
                if not paths:
                    continue
                as_is, degraded = camera.surveys
                found.extend(embed(paths, model, as_is))
                if part == "all":
                    matched[camera].extend(embed(paths, model, degraded))
                for path in paths:
                    shutil.rmtree(path.parent)
    gallery = np.array(legacy)
    print(f"rank of a galaxy's Legacy image among the {n} of all, by cosine; {queries} galaxies\n")
    print(f"{'query':36s}{'in 1 %':>9s}{'first':>9s}{'median':>9s}{'90 %':>9s}{'cosine':>9s}")
    print_row("Legacy Surveys, observed again", np.array(again)[:queries], gallery)
    for (camera, part), vectors in others.items():
        print_row(f"{camera.name}: {part}", np.array(vectors), gallery)
        if part == "all":
            print_row(camera.surveys[1], np.array(matched[camera]), gallery)
    median = pixel_sigma(ObservingConditions(seeing=SEEING, depth=DEPTH))
    print("\nnoise of the sky, area for area, over the Legacy Surveys' at median depth\n")
    for camera in CAMERAS:
        ratios = zip("grz", pixel_sigma(camera.depth) / median, strict=True)
        print(camera.name, *(f"{band} {ratio:.2f}" for band, ratio in ratios), sep="   ")
    print("\nmagnitude through its filters minus DECam's, median (16 to 84 %)\n")
    for name, ratios in fainter.items():
        low, middle, high = np.quantile(-2.5 * np.log10(ratios), [0.16, 0.5, 0.84], axis=0)
        rows = zip("grz", low, middle, high, strict=True)
        print(name, *(f"{b} {m:+.3f} ({x:+.3f} to {y:+.3f})" for b, x, m, y in rows), sep="   ")


def galaxies_of(seed):
    """Galaxies of a mock survey, their numbers, and random generators for their noise."""
    for index in count():
        galaxy = simulate_galaxy(seed, index)
        if galaxy.truth["kind"] == b"galaxy":
            yield galaxy, index, np.random.default_rng([seed, index])


def legacy_cutouts(galaxy, _index, rng):
    """Two observations by the Legacy Surveys."""
    wcs = tangent_wcs(TARGET, PIXEL_SCALE, galaxy.image.shape[-2:])
    for _ in range(2):
        noise = galaxy.image_sigma[:, None, None] * rng.standard_normal(galaxy.image.shape)
        yield CCDData(galaxy.image + noise, unit=u.nmgy, wcs=wcs, meta={"bands": "grz"})


def draw_all(seed, index):
    """Noiseless images by name of the camera whose seeing they have."""
    draw = partial(simulate_image, seed, index, finer=FINER)
    return {"own": draw()} | {camera.name: draw(camera.seeing) for camera in CAMERAS}


if __name__ == "__main__":
    main()
