import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.nddata import InverseVariance
from specutils import Spectrum
from specutils.manipulation import FluxConservingResampler

from astroclip_astro.adapters.resample import resample, resampling_operator
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.errors import InputError


def grid_edges(centres):
    """Bin edges as specutils defines them."""
    return u.Quantity(Spectrum(centres * u.Jy, centres * u.AA).spectral_axis.bin_edges).value


GRIDS = {
    "log-linear to finer linear": (10 ** np.arange(3.60, 3.63, 1e-4), np.arange(4000, 4250, 0.8)),
    "linear to coarser log-linear": (
        np.arange(3990, 4300, 0.3),
        10 ** np.arange(3.605, 3.63, 2e-4),
    ),
    "many to one": (np.arange(3990, 4300, 0.05), np.arange(4000, 4250, 5.0)),
    "same lattice": (np.arange(4000, 4200, 0.8), np.arange(4040, 4160, 0.8)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_equals_specutils_where_covered_and_unmasked(name):
    centres_in, centres_out = GRIDS[name]
    rng = np.random.default_rng(5)
    flux = 10 + rng.normal(size=centres_in.size)
    ivar = rng.uniform(0.5, 2, size=centres_in.size)
    expected = FluxConservingResampler()(
        Spectrum(flux * u.Jy, centres_in * u.AA, uncertainty=InverseVariance(ivar)),
        centres_out * u.AA,
    )
    got_flux, got_ivar = resample(
        flux[None], ivar[None], grid_edges(centres_in), grid_edges(centres_out)
    )
    assert got_flux.dtype == torch.float64
    np.testing.assert_allclose(got_flux[0], expected.flux.value, rtol=1e-6)
    np.testing.assert_allclose(got_ivar[0], expected.uncertainty.array, rtol=1e-6)


def test_averaging_n_equal_pixels_multiplies_ivar_by_n():
    flux = np.arange(12.0)[None]
    got_flux, got_ivar = resample(flux, np.full((1, 12), 3.0), np.arange(13), np.arange(0, 13, 4))
    assert got_flux.tolist() == [[1.5, 5.5, 9.5]]
    np.testing.assert_allclose(got_ivar, [[12.0, 12.0, 12.0]], rtol=1e-12)


def test_ivar_of_fractional_overlaps():
    # Half of bin 0 (variance 1) and all of bin 1 (variance 4) make one bin of width 1.5.
    flux, ivar = resample([[3.0, 6.0]], [[1.0, 0.25]], [0, 1, 2], [0.5, 2])
    assert flux.item() == pytest.approx((0.5 * 3 + 1 * 6) / 1.5)
    assert 1 / ivar.item() == pytest.approx((0.5**2 * 1 + 1**2 * 4) / 1.5**2)


def test_upsampling_repeats_flux_and_ivar():
    flux, ivar = resample([[2.0, 5.0]], [[4.0, 9.0]], [0, 1, 2], np.linspace(0, 2, 9))
    assert flux.tolist() == [[2.0] * 4 + [5.0] * 4]
    np.testing.assert_allclose(ivar, [[4.0] * 4 + [9.0] * 4])


def test_bad_pixels_carry_no_weight_whatever_they_hold():
    edges_in, edges_out = np.arange(9), np.arange(0, 9, 2)
    flux = np.array([[1.0, np.nan, 3, np.inf, 5, 1e30, 7, 9]])
    ivar = np.array([[1.0, 1, 1, 1, 1, 0, 2, np.inf]])
    got_flux, got_ivar = resample(flux, ivar, edges_in, edges_out)
    assert got_flux.tolist() == [[1.0, 3.0, 5.0, 7.0]]
    assert got_ivar.tolist() == [[1.0, 1.0, 1.0, 2.0]]


@pytest.mark.parametrize(("n_good", "good"), [(0, False), (1, False), (2, True), (4, True)])
def test_output_bin_needs_good_input_over_half_of_it(n_good, good):
    ivar = (np.arange(4) < n_good).astype(float)[None]
    flux, got = resample(np.full((1, 4), 8.0), ivar, np.arange(5), [0, 4])
    assert (got.item() > 0) is good
    assert flux.item() == (8.0 if good else 0.0)


def test_bins_half_outside_the_input_are_empty():
    flux, ivar = resample([[1.0, 1.0]], [[1.0, 1.0]], [10, 11, 12], [0, 9, 10.4, 11.4, 13.2, 20])
    assert (ivar[0] > 0).tolist() == [False, False, True, False, False]
    assert flux[0, ivar[0] == 0].abs().sum() == 0


def test_disjoint_grids_give_nothing():
    for edges_in in ([0.0, 1.0, 2.0], [50.0, 51.0, 52.0]):
        operator = resampling_operator(edges_in, [10, 11, 12])
        assert not operator.covered.any()
        flux, ivar = resample([[1.0, 2.0]], [[1.0, 1.0]], edges_in, [10, 11, 12])
        assert flux.tolist() == ivar.tolist() == [[0.0, 0.0]]


def test_conserves_the_integral():
    rng = np.random.default_rng(1)
    edges_in = np.concatenate([[0], np.cumsum(rng.uniform(0.1, 3, 400))])
    edges_out = np.linspace(0, edges_in[-1], 173)
    flux = rng.normal(size=(3, 400))
    got, _ = resample(flux, np.ones_like(flux), edges_in, edges_out)
    np.testing.assert_allclose(
        (got * torch.from_numpy(np.diff(edges_out))).sum(1), flux @ np.diff(edges_in), rtol=1e-12
    )


def test_grids_equal_up_to_rounding_take_one_gather():
    edges = SpectrumPreprocessing().edges
    operator = resampling_operator(edges + 1e-10 * np.sin(np.arange(edges.size)), edges)
    assert operator.columns.shape == (1, 7781)
    assert torch.equal(operator.columns[0], torch.arange(7781))


def test_operator_comes_from_the_cache():
    edges = np.arange(100.0)
    first = resampling_operator(edges, edges[::3])
    assert resampling_operator(list(edges), edges[::3].copy()) is first
    assert resampling_operator(edges + 1e-9, edges[::3]) is not first
    assert resampling_operator(edges, edges[::3], dtype=torch.float32) is not first


def test_rows_do_not_depend_on_the_batch():
    rng = np.random.default_rng(2)
    edges_in, edges_out = np.linspace(0, 10, 333), np.linspace(0, 10, 500)
    flux, ivar = rng.normal(size=(7, 332)), rng.uniform(size=(7, 332))
    together = resample(flux, ivar, edges_in, edges_out)
    for i in range(7):
        alone = resample(flux[i : i + 1], ivar[i : i + 1], edges_in, edges_out)
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    "edges", [[1.0], [], [0, 2, 1], [0, 1, 1], [0, np.nan, 2], [0, 1, np.inf], [3, 2, 1]]
)
def test_refuses_what_is_no_grid(edges):
    with pytest.raises(InputError, match=r"input grid's .* not finite and strictly increasing"):
        resampling_operator(edges, [0, 1])
    with pytest.raises(InputError, match="output grid"):
        resampling_operator([0, 1], edges)


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 4)])
def test_refuses_flux_that_does_not_fit(shape):
    with pytest.raises(InputError, match=r"expected shape \(B, 4\)"):
        resample(np.ones(shape), np.ones(shape), np.arange(5), [0, 1])
    with pytest.raises(InputError, match=r"expected shape \(B, 4\)"):
        resample(np.ones((2, 4)), np.ones((1, 4)), np.arange(5), [0, 1])
