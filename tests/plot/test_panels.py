"""One spectrum, one picture: what is drawn is the data, and what is missing looks it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.nddata import NDData, StdDevUncertainty
from astropy.wcs import WCS
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from specutils import Spectrum
from specutils.utils.wcs_utils import air_to_vac

import astroclip_astro.plot as plot
from astroclip_astro.adapters.image import ImagePreprocessing, to_rgb
from astroclip_astro.errors import InputError
from astroclip_astro.plot import LINES, image_panel, spectrum_panel
from astroclip_astro.plot.style import BLUE

FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
GRID = 3600 + 0.8 * np.arange(7781)


def spectrum(flux, **meta):
    return Spectrum(
        spectral_axis=GRID * u.AA,
        flux=flux * FLUX,
        uncertainty=StdDevUncertainty(np.full(len(GRID), 0.1)),
        meta={"object_id": "it", **meta},
    )


def cutout(flux, wcs=None, **meta):
    meta = {"object_id": "it", "bands": "grz", "pixel_scale": 0.262} | meta
    return NDData(flux, unit=u.nmgy, wcs=wcs, meta=meta)


def stairs(ax):
    """Values and edges of the pixels, and of the means over them."""
    return [patch.get_data() for patch in ax.patches]


def test_a_spectrum_is_drawn_in_its_units():
    flux = 3 + np.sin(GRID / 100)
    ax = spectrum_panel(spectrum(flux, redshift=0.1))
    (pixels, edges, _), (means, coarse, _) = stairs(ax)
    np.testing.assert_allclose(pixels, flux)
    np.testing.assert_allclose((edges[1:] + edges[:-1]) / 2, GRID)
    np.testing.assert_allclose(means, flux[:7776].reshape(-1, 9).mean(1))
    np.testing.assert_allclose(coarse, edges[:7777:9])
    assert ax.patches[1].get_edgecolor() == to_rgba(BLUE)
    assert ax.get_xlabel() == "Observed wavelength in vacuum [Å]"
    assert ax.get_ylabel() == "Flux density\n[$10^{-17}$ erg s$^{-1}$ cm$^{-2}$ Å$^{-1}$]"
    marked = [line.get_xdata()[0] for line in ax.lines]
    observed = np.array([rest for _, rest in LINES]) * 1.1
    np.testing.assert_allclose(marked, observed[(observed > GRID[0]) & (observed < GRID[-1])])


def test_units_and_wavelengths_in_air_are_converted():
    air, flux = np.linspace(5000, 5300, 300) * u.AA, np.linspace(1, 2, 300) * u.mJy
    one = Spectrum(spectral_axis=air.to(u.nm), flux=flux, meta={"medium": "air"})
    ax = spectrum_panel(one)
    ((drawn, edges, _),) = stairs(ax)  # so few pixels are not averaged
    np.testing.assert_allclose((edges[1:] + edges[:-1]) / 2, air_to_vac(air).value, atol=0.01)
    expected = flux.to_value(FLUX, u.spectral_density(air_to_vac(air)))
    np.testing.assert_allclose(drawn, expected, rtol=1e-3)
    assert not ax.lines


def test_missing_pixels_are_gaps():
    flux = np.ones(len(GRID))
    flux[1000:1999] = np.nan
    (pixels, _, _), (means, _, _) = stairs(spectrum_panel(spectrum(flux)))
    np.testing.assert_array_equal(np.isnan(pixels), np.isnan(flux))
    assert np.isnan(means[112:222]).all()
    assert np.isfinite(means[:111]).all()


def test_a_spectrum_without_data_looks_like_none():
    ax = spectrum_panel(spectrum(np.full(len(GRID), np.nan), redshift=0.1))
    assert [text.get_text() for text in ax.texts] == ["no data"]
    assert not ax.lines
    assert not ax.patches
    assert ax.patch.get_hatch()


def test_sky_residuals_do_not_set_the_scale_but_lines_do():
    flux, sigma = np.ones(len(GRID)), np.full(len(GRID), 0.1)
    flux[3000:3009], sigma[3000:3009] = -500, 200
    flux[603:612], sigma[:1000] = 60, 0.5
    one = Spectrum(
        spectral_axis=GRID * u.AA, flux=flux * FLUX, uncertainty=StdDevUncertainty(sigma)
    )
    low, high = spectrum_panel(one).get_ylim()
    assert -5 < low < 1
    assert high > 50


def test_a_picture_has_the_colours_of_the_survey(survey):
    one = survey.cutout(3)
    figure = Figure()
    ax = image_panel(one, figure.add_subplot())
    assert ax.figure is figure
    drawn = ax.images[0].get_array()
    flux = torch.from_numpy(one.data)
    expected = to_rgb(flux, ImagePreprocessing()).movedim(0, -1)
    np.testing.assert_allclose(drawn[..., :3], expected, atol=1e-5)
    np.testing.assert_array_equal(drawn[..., 3], 1)
    assert ax.images[0].origin == "lower"
    half = 76 * 0.262
    np.testing.assert_allclose(ax.images[0].get_extent(), [half, -half, -half, half])
    start, end = ax.lines[0].get_xdata()
    assert start - end == pytest.approx(10)
    assert "10″" in [text.get_text() for text in ax.texts]


def test_north_is_up_and_east_is_left():
    # Rows grow southwards and columns eastwards; a source 10" north and 5" east of the target.
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150, 2], [100.5, 100.5]
    wcs.wcs.cd = np.diag([0.262, -0.262]) / 3600
    flux = np.full((3, 200, 200), 0.001)
    row, column = round(99.5 - 10 / 0.262), round(99.5 + 5 / 0.262)
    flux[:, row - 1 : row + 2, column - 1 : column + 2] = 5
    ax = image_panel(cutout(flux, wcs, ra=150.0, dec=2.0))
    picture = ax.images[0].get_array()[..., :3].sum(-1)
    y, x = (np.argwhere(picture > 1) - 75.5).mean(0) * 0.262
    assert y == pytest.approx(10, abs=0.3)
    assert x == pytest.approx(-5, abs=0.3)
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    (north, east) = texts["N"], texts["E"]
    assert ax.get_xlim()[0] > ax.get_xlim()[1]  # offsets to the east grow to the left
    assert north[1] > east[1]
    assert east[0] > north[0]


def test_pixels_without_data_are_hatched_and_not_black():
    flux = np.random.default_rng(0).normal(0.01, 0.01, (3, 152, 152))
    flux[1, 20:30, 40:60] = np.nan
    ax = image_panel(cutout(flux))
    shown = ax.images[0].get_array()[..., 3] == 1
    np.testing.assert_array_equal(shown, np.isfinite(flux).all(0))
    assert ax.patch.get_hatch()
    ax = image_panel(cutout(flux[:, 31:131, 20:120]))  # smaller than the panel
    assert ax.images[0].get_array()[..., 3].sum() == 100 * 100


def test_objects_that_cannot_be_drawn(survey):
    with pytest.raises(InputError, match=r"image data, expected spectrum data: take image_panel"):
        spectrum_panel(survey.cutout(0))
    with pytest.raises(InputError, match=r"spectrum data, expected image data"):
        image_panel(survey.spectrum(0))
    with pytest.raises(InputError, match="several objects: expected one"):
        spectrum_panel([survey.spectrum(0), survey.spectrum(1)])
    with pytest.raises(InputError, match="it: no usable pixel"):
        image_panel(cutout(np.full((3, 152, 152), np.nan)))
    with pytest.raises(InputError, match="band z is missing"):
        image_panel(cutout(np.ones((2, 152, 152)), bands="gr"))
    with pytest.raises(InputError, match="flux density"):
        spectrum_panel(Spectrum(spectral_axis=GRID * u.AA, flux=np.ones(len(GRID)) * u.count))


@pytest.mark.parametrize("name", plot.__all__)
def test_names_are_there_and_listed(name):
    assert getattr(plot, name) is getattr(plot, name)
    assert name in dir(plot)


def test_without_matplotlib_it_is_said_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import astroclip_astro.plot"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "pip install 'astroclip_astro[plot]'" in done.stderr
