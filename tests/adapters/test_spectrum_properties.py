"""What must hold for any spectrum, however it is written down."""

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from specutils import Spectrum

from astroclip_astro.adapters.resample import resample
from astroclip_astro.adapters.spectrum import (
    FLUX_UNIT,
    SpectrumPreprocessing,
    spectrum_batch,
    spectrum_records,
)
from astroclip_astro.quality import Quality

settings.register_profile("adapters", max_examples=30, deadline=None, derandomize=True)
pytestmark = pytest.mark.filterwarnings("error")

GRID = SpectrumPreprocessing(wavelength_start=5000.0, wavelength_step=1.0, n_pixels=50)
few = settings(settings.get_profile("adapters"))


@st.composite
def spectra(draw, size=None):
    """Edges (increasing, Å), flux, standard deviation and mask of one spectrum."""
    n = size or draw(st.integers(2, 40))
    widths = draw(arrays(float, n, elements=st.floats(0.3, 3)))
    start = draw(st.floats(4950, 5040))
    flux = draw(arrays(float, n, elements=st.floats(-100, 100, width=16)))
    error = draw(arrays(float, n, elements=st.floats(0.1, 10)))
    mask = draw(arrays(bool, n))
    return start + np.concatenate([[0], np.cumsum(widths)]), flux, error, mask


def build(edges, flux, error, mask, **kwargs):
    return Spectrum(
        flux=flux * FLUX_UNIT,
        spectral_axis=edges * u.AA,
        bin_specification="edges",
        uncertainty=StdDevUncertainty(error),
        mask=mask,
        **kwargs,
    )


def one(spectrum):
    (record,) = spectrum_records(spectrum)
    return record


def assert_same(record, other, rtol=0.0):
    for name in ("edges", "flux", "ivar"):
        np.testing.assert_allclose(
            getattr(record, name), getattr(other, name), rtol=rtol, atol=rtol * 100, err_msg=name
        )
    assert record.quality == other.quality


@few
@given(
    spectra(),
    st.sampled_from(["Angstrom", "nm", "um", "THz", "eV", "1/cm"]),
    st.sampled_from(["erg / (s cm2 Angstrom)", "W / (m2 um)", "Jy", "erg / (s cm2 Hz)"]),
    st.sampled_from([StdDevUncertainty, VarianceUncertainty, InverseVariance]),
    st.booleans(),
)
def test_units_order_and_kind_of_uncertainty(data, axis_unit, flux_unit, kind, reverse):
    edges, flux, error, mask = data
    centres = (edges[1:] + edges[:-1]) / 2 * u.AA
    other_flux, other_error = (
        (values * FLUX_UNIT).to(flux_unit, u.spectral_density(centres)) for values in (flux, error)
    )
    power = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}[kind]
    step = -1 if reverse else 1
    other = Spectrum(
        flux=other_flux[::step],
        spectral_axis=(edges * u.AA).to(axis_unit, u.spectral())[::step],
        bin_specification="edges",
        uncertainty=kind(other_error[::step] ** power),
        mask=mask[::step],
    )
    assert_same(one(other), one(build(*data)), rtol=1e-9)


@few
@given(
    spectra(),
    st.sampled_from(["<f2", ">f2", "<f4", ">f4", ">f8"]),
    st.sampled_from(["plain", "strided", "reversed view", "read-only", "row of two"]),
)
def test_dtype_byte_order_and_strides(data, dtype, layout):
    edges, flux, error, mask = data
    flux, error = (a.astype(np.float16).astype(dtype) for a in (flux, error))

    def laid_out(array):
        if layout == "strided":
            wide = np.zeros((array.size, 3), array.dtype)
            wide[:, 1] = array
            return wide[:, 1]
        if layout == "reversed view":
            return array[::-1].copy()[::-1]
        if layout == "row of two":
            return np.stack([array, array]).astype(array.dtype)
        array = array.copy()
        array.flags.writeable = layout != "read-only"
        return array

    quantity = laid_out(flux) << FLUX_UNIT
    assert quantity.dtype == dtype
    other = Spectrum(
        flux=quantity,
        spectral_axis=edges * u.AA,
        bin_specification="edges",
        spectral_axis_index=quantity.ndim - 1,
        uncertainty=StdDevUncertainty(laid_out(error)),
        mask=laid_out(mask),
    )
    expected = one(build(edges, flux.astype(float), error.astype(float), mask))
    for record in spectrum_records(other):
        assert_same(record, expected)


@few
@given(spectra(), st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 0.0]))
def test_what_a_masked_pixel_holds_does_not_matter(data, value):
    edges, flux, error, mask = data
    mask[0] = True
    expected = spectrum_batch([one(build(edges, flux, error, mask))], GRID)
    junk_flux, junk_error = np.where(mask, value, flux), np.where(mask, value, error)
    got = spectrum_batch([one(build(edges, junk_flux, junk_error, mask))], GRID)
    assert torch.equal(got.flux, expected.flux)
    assert torch.equal(got.ivar, expected.ivar)
    # NaN under a mask that covers nothing else cannot be told from specutils' own mask.
    assert (got.quality[0] & ~Quality.NON_FINITE) == expected.quality[0]


@few
@given(
    spectra(size=25),
    arrays(float, 25, elements=st.sampled_from([1.0, 0.0, -1.0, np.nan, np.inf, -np.inf, 1e200])),
    arrays(float, 25, elements=st.sampled_from([1.0, 0.0, -1.0, np.nan, np.inf, 1e-200])),
)
def test_no_garbage_comes_out_whatever_goes_in(data, junk_flux, junk_error):
    edges, flux, error, mask = data
    flux, error = (
        np.where(junk_flux == 1, flux, junk_flux),
        np.where(junk_error == 1, error, junk_error),
    )
    obj = build(edges, flux, error, mask)
    got = spectrum_batch([one(obj)], GRID)
    assert torch.isfinite(got.flux).all()
    assert torch.isfinite(got.ivar).all()
    assert (got.ivar >= 0).all()
    assert got.coverage[0] == pytest.approx((got.ivar > 0).double().mean().item())
    quality = Quality(int(got.quality[0]))
    assert (Quality.NO_DATA in quality) == bool((got.ivar == 0).all())
    assert (Quality.NON_FINITE in quality) == bool(
        (~np.isfinite(flux) | (np.abs(flux) > 3.4e38))[~mask].any()
    )
    if Quality.NO_DATA in quality:
        assert Quality.NOT_EMBEDDED in quality
        assert (got.flux == 0).all()
        assert np.isnan(got.snr[0])


@few
@given(st.lists(spectra(), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_row_does_not_depend_on_its_batch(many, random):
    records = [one(build(*data)) for data in many]
    records += records[:2]  # several rows on one grid
    order = list(range(len(records)))
    random.shuffle(order)
    together = spectrum_batch([records[i] for i in order], GRID)
    for row, i in enumerate(order):
        alone = spectrum_batch([records[i]], GRID)
        torch.testing.assert_close(together.flux[row], alone.flux[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(together.ivar[row], alone.ivar[0], rtol=1e-6, atol=0)
        assert together.coverage[row] == alone.coverage[0]
        assert together.snr[row] == pytest.approx(alone.snr[0], rel=1e-6, nan_ok=True)
        assert together.quality[row] == alone.quality[0]


@few
@given(spectra())
def test_filling_does_not_move_the_mean_or_the_data(data):
    record = one(build(*data))
    got = spectrum_batch([record], GRID)
    flux, ivar = got.flux[0, :, 0].double(), got.ivar[0]
    good = torch.nonzero(ivar > 0)[:, 0]
    if len(good) == 0:
        return
    first, last = good.min(), good.max()
    outside = torch.cat([flux[:first], flux[last + 1 :]])
    torch.testing.assert_close(outside, flux.mean().expand_as(outside), rtol=1e-5, atol=1e-5)
    direct, _ = resample(record.flux[None], record.ivar[None], record.edges, GRID.edges)
    torch.testing.assert_close(flux[good], direct[0, good], rtol=1e-6, atol=1e-6)
    inside = flux[first : last + 1]
    assert inside.min() >= flux[good].min() - 1e-4
    assert inside.max() <= flux[good].max() + 1e-4


@few
@given(spectra(size=30), st.integers(1, 60))
def test_flux_is_conserved(data, n_out):
    edges, flux, error, _ = data
    edges_out = np.linspace(edges[0], edges[-1], n_out + 1)
    got, ivar = resample(flux[None], error[None] ** -2.0, edges, edges_out)
    total = (flux * np.diff(edges)).sum()
    assert (got[0].numpy() * np.diff(edges_out)).sum() == pytest.approx(total, rel=1e-9, abs=1e-6)
    # An average is never noisier than its noisiest part, nor than n of them at their best.
    assert (ivar[0] >= error.max() ** -2.0 * (1 - 1e-9)).all()
    assert (ivar[0] <= 30 * error.min() ** -2.0 * (1 + 1e-9)).all()


@few
@given(spectra(), st.floats(0.25, 4))
def test_scaling_flux_and_error_together(data, factor):
    edges, flux, error, mask = data
    got = spectrum_batch([one(build(edges, flux * factor, error * factor, mask))], GRID)
    expected = spectrum_batch([one(build(*data))], GRID)
    torch.testing.assert_close(got.flux, expected.flux * factor, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.ivar, expected.ivar / factor**2, rtol=1e-5, atol=0)
    assert got.snr[0] == pytest.approx(expected.snr[0], rel=1e-5, abs=1e-6, nan_ok=True)
