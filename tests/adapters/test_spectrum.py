import dataclasses
import json
import warnings

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.coordinates import Angle, SkyCoord
from astropy.io import fits
from astropy.nddata import (
    InverseVariance,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.table import MaskedColumn
from astropy.utils.masked import Masked
from specutils import Spectrum, Spectrum1D, SpectrumCollection, SpectrumList

from astroclip_astro.adapters.flux_density import to_ivar_function
from astroclip_astro.adapters.records import FailedRecord, SpectrumRecord
from astroclip_astro.adapters.spectrum import (
    FLUX_UNIT,
    SpectrumPreprocessing,
    spectrum_batch,
    spectrum_records,
)
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.base import Survey

GRID = SpectrumPreprocessing(wavelength_start=5000.0, wavelength_step=2.0, n_pixels=500)
WAVELENGTH = 5000 + 2.0 * np.arange(500)
FLUX = 10 + np.sin(WAVELENGTH / 100)


def spectrum(wavelength=WAVELENGTH, flux=FLUX, **kwargs):
    return Spectrum(flux=u.Quantity(flux, FLUX_UNIT), spectral_axis=wavelength * u.AA, **kwargs)


def one(obj, **kwargs):
    (record,) = spectrum_records(obj, **kwargs)
    return record


def batch(*objs, grid=GRID, **kwargs):
    return spectrum_batch([r for obj in objs for r in spectrum_records(obj, **kwargs)], grid)


# Units and axes


@pytest.mark.parametrize(
    "unit", ["nm", "um", "m", "Hz", "GHz", "eV", "keV", "1/cm", "Angstrom"], ids=str
)
@pytest.mark.parametrize("reverse", [False, True])
def test_spectral_axis_in_any_unit_and_order(unit, reverse):
    axis = (WAVELENGTH * u.AA).to(unit, u.spectral())
    step = -1 if reverse else 1
    record = one(Spectrum(flux=FLUX[::step] * FLUX_UNIT, spectral_axis=axis[::step]))
    # Bins that are midway in frequency are not exactly midway in wavelength.
    np.testing.assert_allclose(record.edges, GRID.edges, atol=1e-3)
    np.testing.assert_allclose(record.flux, FLUX, rtol=1e-6)


@pytest.mark.parametrize(
    "unit",
    ["W / (m2 um)", "erg / (s cm2 Hz)", "mJy", "Jy", "photon / (s cm2 Angstrom)", "W / (m2 Hz)"],
)
def test_flux_per_wavelength_or_frequency(unit):
    flux = (FLUX * FLUX_UNIT).to(unit, u.spectral_density(WAVELENGTH * u.AA))
    error = (0.5 * np.ones(500) * FLUX_UNIT).to(unit, u.spectral_density(WAVELENGTH * u.AA))
    record = one(
        Spectrum(flux=flux, spectral_axis=WAVELENGTH * u.AA, uncertainty=StdDevUncertainty(error))
    )
    np.testing.assert_allclose(record.flux, FLUX, rtol=1e-10)
    np.testing.assert_allclose(record.ivar, 4.0, rtol=1e-10)


@pytest.mark.parametrize("unit", ["", "ct", "adu", "mag", "MJy / sr", "erg / s", "nmgy", "K"])
def test_flux_that_is_no_flux_density_is_refused(unit):
    bad = Spectrum(flux=FLUX * u.Unit(unit), spectral_axis=WAVELENGTH * u.AA)
    with pytest.raises(InputError, match="expected a flux density per wavelength or frequency"):
        one(bad)


def test_errors_name_the_object():
    bad = Spectrum(flux=FLUX * u.ct, spectral_axis=WAVELENGTH * u.AA, meta={"object_id": "M 31"})
    with pytest.raises(InputError, match=r"^M 31: flux is in 'ct': expected") as caught:
        one(bad, object_id="not this")
    assert caught.value.object_id == "M 31"
    assert caught.value.quality == Quality.NOT_EMBEDDED


def test_velocity_axis_is_refused_even_with_a_rest_value():
    bad = Spectrum(
        flux=FLUX * FLUX_UNIT,
        spectral_axis=np.linspace(-1000, 1000, 500) * u.km / u.s,
        rest_value=6563 * u.AA,
        velocity_convention="optical",
    )
    with pytest.raises(InputError, match=r"is a velocity .*rest value"):
        one(bad)


def test_pixel_axis_is_refused():
    with pytest.raises(InputError, match="spectral axis is in pix"):
        one(Spectrum(flux=FLUX * FLUX_UNIT))


def test_single_pixel_is_refused():
    with pytest.raises(InputError, match="one pixel"):
        one(spectrum(WAVELENGTH[:1], FLUX[:1]))


def test_axis_that_reaches_below_zero_is_refused():
    with pytest.raises(InputError, match="not finite, positive and sorted"):
        one(spectrum(np.linspace(1, 1000, 500)))


def test_bin_edges_are_kept():
    edges = np.array([5000.0, 5010, 5011, 5030, 5070])
    obj = spectrum(edges, [1, 2, 3, 4], bin_specification="edges")
    np.testing.assert_array_equal(one(obj).edges, edges)


def test_log_linear_axis():
    loglam = 3.6 + 1e-4 * np.arange(2000)
    record = one(spectrum(10**loglam, np.ones(2000)))
    np.testing.assert_allclose(np.log10(record.edges[1:-1]), loglam[:-1] + 5e-5, atol=1e-8)


def test_not_a_spectrum_is_refused():
    with pytest.raises(InputError, match="got a ndarray, expected a specutils Spectrum"):
        one(FLUX)
    with pytest.raises(InputError, match="complex"):
        one(spectrum(flux=FLUX + 1j))


# Uncertainties, masks, non-finite values


@pytest.mark.parametrize(
    "uncertainty",
    [
        StdDevUncertainty(np.full(500, 0.5)),
        VarianceUncertainty(np.full(500, 0.25)),
        InverseVariance(np.full(500, 4.0)),
        StdDevUncertainty(np.full(500, 0.5e-17), unit="erg / (s cm2 Angstrom)"),
        VarianceUncertainty(np.full(500, 0.25e-34), unit="erg2 / (s2 cm4 Angstrom2)"),
        InverseVariance(np.full(500, 4e34), unit="s2 cm4 Angstrom2 / erg2"),
    ],
    ids=lambda x: f"{type(x).__name__} {x.unit}",
)
def test_every_kind_of_uncertainty_becomes_ivar(uncertainty):
    record = one(spectrum(uncertainty=uncertainty))
    np.testing.assert_allclose(record.ivar, 4.0, rtol=1e-12)
    assert record.has_uncertainty
    assert record.quality == Quality.GOOD


def test_unknown_uncertainty_is_refused():
    with pytest.raises(InputError, match="UnknownUncertainty: expected StdDevUncertainty"):
        one(spectrum(uncertainty=UnknownUncertainty(np.ones(500))))


def test_uncertainty_whose_unit_does_not_fit_is_refused():
    with pytest.raises(InputError, match="uncertainty is in K, which does not fit flux in Jy"):
        to_ivar_function(StdDevUncertainty(np.ones(3), unit=u.K), u.Jy)


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty, InverseVariance])
def test_uncertainties_that_are_not_positive_carry_no_weight(kind):
    values = np.ones(500)
    values[:5] = 0, -1, np.nan, np.inf, -np.inf
    record = one(spectrum(uncertainty=kind(values)))
    assert (record.ivar[:5] == 0).all()
    assert (record.ivar[5:] == 1).all()
    assert record.quality == Quality.GOOD


def test_without_uncertainty_good_pixels_weigh_the_same():
    mask = np.zeros(500, bool)
    mask[7] = True
    record = one(spectrum(mask=mask))
    assert record.ivar[7] == 0
    assert (np.delete(record.ivar, 7) == 1).all()
    assert not record.has_uncertainty
    assert record.quality == Quality.NO_UNCERTAINTY
    assert np.isnan(batch(spectrum(mask=mask)).snr[0])


def test_masks_are_true_for_bad_and_may_be_integers():
    mask = np.zeros(500, np.int32)
    mask[10:20] = 1 << 23
    obj = spectrum(mask=mask, uncertainty=InverseVariance(np.ones(500)))
    assert np.flatnonzero(one(obj).ivar == 0).tolist() == list(range(10, 20))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e60])
def test_non_finite_flux_is_flagged_and_carries_no_weight(value):
    flux = FLUX.copy()
    flux[3] = value
    record = one(spectrum(flux=flux, uncertainty=InverseVariance(np.ones(500))))
    assert record.quality == Quality.NON_FINITE
    assert record.ivar[3] == 0
    assert np.isfinite(record.flux).all()
    assert torch.isfinite(batch(spectrum(flux=flux)).flux).all()


def test_non_finite_flux_under_a_mask_is_no_fault():
    flux, mask = FLUX.copy(), np.zeros(500, bool)
    flux[3], mask[[3, 4]] = np.nan, True
    assert one(spectrum(flux=flux, mask=mask)).quality == Quality.NO_UNCERTAINTY


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", "f2", ">i2", "i8", "u1"])
def test_any_dtype_and_byte_order(dtype):
    flux = np.round(FLUX).astype(dtype)
    ivar = np.ones(500, ">f4")
    record = one(
        spectrum(
            flux=u.Quantity(flux, FLUX_UNIT, dtype=dtype, copy=False),
            uncertainty=InverseVariance(ivar),
        )
    )
    np.testing.assert_array_equal(record.flux, np.round(FLUX))
    assert record.flux.dtype == record.ivar.dtype == record.edges.dtype == np.float64
    assert record.flux.dtype.isnative


def test_strided_arrays():
    wide = np.zeros((500, 6))
    wide[:, 2] = FLUX
    np.testing.assert_array_equal(one(spectrum(flux=wide[:, 2])).flux, FLUX)


# Containers


def test_deprecated_spectrum1d():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = Spectrum1D(flux=FLUX * FLUX_UNIT, spectral_axis=WAVELENGTH * u.AA)
    np.testing.assert_array_equal(one(old).flux, FLUX)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rows_of_a_cube_in_c_order_whatever_the_spectral_axis(axis):
    cube = np.arange(1, 7).reshape(2, 3, 1) * FLUX
    ivar = np.arange(1, 7).reshape(2, 3, 1) * np.ones(500)
    mask = np.zeros(cube.shape, bool)
    mask[1, 0, 5] = True
    flux, ivar, mask = (np.moveaxis(a, -1, axis) for a in (cube, ivar, mask))
    obj = spectrum(
        flux=flux,
        uncertainty=InverseVariance(ivar),
        mask=mask,
        spectral_axis_index=axis,
        meta={"ra": np.arange(6.0), "dec": 1.5},
    )
    records = list(spectrum_records(obj, object_id="cube"))
    assert [r.object_id for r in records] == [f"cube[{i}]" for i in range(6)]
    assert [r.ra for r in records] == list(range(6))
    assert {r.dec for r in records} == {1.5}
    for i, record in enumerate(records):
        np.testing.assert_array_equal(record.flux, (i + 1) * FLUX)
        assert record.ivar[6] == i + 1
        assert record.ivar[5] == (0 if i == 3 else i + 1)


def test_list_keeps_the_place_of_a_bad_member():
    two_rows = Spectrum(flux=np.ones((2, 500)) * u.ct, spectral_axis=WAVELENGTH * u.AA)
    good = spectrum(meta={"object_id": "second"})
    records = list(spectrum_records(SpectrumList([two_rows, good, "text"]), object_id="f.fits"))
    assert [type(r) for r in records] == [FailedRecord, FailedRecord, SpectrumRecord, FailedRecord]
    assert [r.object_id for r in records] == ["f.fits[0][0]"] * 2 + ["second", "f.fits[2]"]
    assert records[0].reason.startswith("flux is in 'ct'")
    assert Quality.NOT_EMBEDDED in records[0].quality


def test_collection_with_an_axis_for_each():
    members = [
        spectrum(
            WAVELENGTH + i,
            FLUX + i,
            uncertainty=StdDevUncertainty(np.full(500, 0.5)),
            mask=np.arange(500) == i,
            meta={"object_id": f"s{i}"},
        )
        for i in range(3)
    ]
    records = list(spectrum_records(SpectrumCollection.from_spectra(members)))
    for i, record in enumerate(records):
        expected = one(members[i])
        assert record.object_id == f"s{i}"
        for name in ("edges", "flux", "ivar"):
            np.testing.assert_array_equal(getattr(record, name), getattr(expected, name))


def test_collection_of_two_dimensions():
    flux = np.arange(1, 7).reshape(2, 3, 1) * FLUX
    axis = np.broadcast_to(WAVELENGTH, flux.shape)
    collection = SpectrumCollection(flux=flux * FLUX_UNIT, spectral_axis=axis * u.AA)
    records = list(spectrum_records(collection))
    assert [r.flux[0] / FLUX[0] for r in records] == pytest.approx(range(1, 7))


def test_arms_of_one_desi_file_are_not_three_objects():
    arms = SpectrumList([spectrum(meta={"band": band}) for band in "brz"])
    with pytest.raises(InputError, match=r"arms of one DESI file.*survey='desi'"):
        list(spectrum_records(arms))


# Air, rest frame, metadata


class Air(Survey):
    medium = "air"


def test_air_wavelengths_become_vacuum():
    # H beta, [O III], [N II], H alpha, [N II], [S II] in both media as SDSS lists them
    # (classic.sdss.org/dr7/products/spectra/vacwavelength.html).
    air = np.array([4861.363, 4958.911, 5006.843, 6548.05, 6562.801, 6583.45, 6716.44, 6730.82])
    vacuum = np.array([4862.721, 4960.295, 5008.239, 6549.86, 6564.614, 6585.27, 6718.29, 6732.68])
    edges = np.sort(np.concatenate([air, air + 1]))
    obj = spectrum(edges, np.ones(15), bin_specification="edges")
    got = one(obj, survey=Air()).edges
    np.testing.assert_allclose(got[::2], vacuum, atol=6e-3)
    np.testing.assert_array_equal(one(obj).edges, edges)


def test_what_says_the_medium():
    shift = one(spectrum(), survey=Air()).edges[0] - GRID.edges[0]
    assert 1.3 < shift < 1.5
    obj = spectrum(meta={"medium": "air"})
    assert one(obj).edges[0] == GRID.edges[0] + shift
    obj.meta["medium"] = "vacuum"
    assert one(obj, survey=Air()).edges[0] == GRID.edges[0]
    obj.meta["medium"] = "water"
    with pytest.raises(InputError, match="'water', expected one of"):
        one(obj)


@pytest.mark.parametrize(("ctype", "air"), [("AWAV", True), ("WAVE", False)])
def test_fits_axis_type_says_air(tmp_path, ctype, air):
    hdu = fits.PrimaryHDU(FLUX.astype(np.float32))
    hdu.header.update(
        CTYPE1=ctype, CUNIT1="Angstrom", CRVAL1=5000.0, CDELT1=2.0, CRPIX1=1.0, BUNIT="Jy"
    )
    hdu.writeto(tmp_path / "one.fits")
    record = one(Spectrum.read(tmp_path / "one.fits", format="wcs1d-fits"))
    assert bool(record.edges[0] > 5000) is air


def test_air_makes_no_sense_for_frequencies_or_the_far_ultraviolet():
    axis = (WAVELENGTH * u.AA).to(u.Hz, u.spectral())
    with pytest.raises(InputError, match=r"air wavelengths are declared, but .* is in Hz"):
        one(Spectrum(flux=FLUX * FLUX_UNIT, spectral_axis=axis), survey=Air())
    with pytest.raises(InputError, match="below 2000 Å"):
        one(spectrum(WAVELENGTH - 4000), survey=Air())


def test_rest_frame_is_undone_with_a_redshift():
    line = FLUX * 0
    line[100] = 5.0  # at 5200 Å
    meta = {"frame": "rest", "redshift": 0.1}
    ivar = InverseVariance(np.full(500, 4.0))
    record = one(spectrum(flux=line, uncertainty=ivar, meta=meta))
    widths = np.diff(record.edges)
    centres = (record.edges[1:] + record.edges[:-1]) / 2
    assert centres[record.flux.argmax()] == pytest.approx(5720)
    assert (record.flux * widths).sum() == pytest.approx(5.0 * 2)
    np.testing.assert_allclose(record.flux.max() ** 2 * record.ivar, 25 * 4)
    assert record.redshift == 0.1


def test_rest_frame_without_a_redshift_is_a_failed_row():
    obj = spectrum(
        flux=np.stack([FLUX, FLUX, FLUX]),
        meta={"frame": "rest", "redshift": [0.2, np.nan, -3], "object_id": ["a", "b", "c"]},
    )
    good, *bad = spectrum_records(obj)
    assert good.edges[0] == pytest.approx(GRID.edges[0] * 1.2)
    assert [r.object_id for r in bad] == ["b", "c"]
    for record in bad:
        assert isinstance(record, FailedRecord)
        assert "no redshift to undo it" in record.reason
        assert Quality.NOT_EMBEDDED in record.quality
    with pytest.raises(InputError, match="expected one of"):
        one(spectrum(meta={"frame": "moving"}))


def test_redshift_is_a_label():
    assert np.isnan(one(spectrum()).redshift)
    record = one(spectrum(redshift=0.3))
    assert record.redshift == pytest.approx(0.3)
    np.testing.assert_array_equal(record.edges, GRID.edges)
    assert one(spectrum(redshift=0.3, meta={"redshift": 0.4})).redshift == 0.4


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, (np.nan, np.nan)),
        ({"ra": 150.0, "dec": -2}, (150, -2)),
        ({"ra": Angle("10h"), "dec": -7200 * u.arcsec}, (150, -2)),
        ({"coord": SkyCoord(150, -2, unit="deg").galactic}, (150, -2)),
        (
            {"header": fits.Header({"PLUG_RA": 150.0, "PLUG_DEC": -2.0, "RA": 1.0, "DEC": 2.0})},
            (150, -2),
        ),
        ({"header": {"RA": 150, "DEC": -2.0}}, (150, -2)),
        ({"header": {"RA": "10:00:00", "DEC": "-2:00:00"}}, (np.nan, np.nan)),
    ],
)
def test_coordinates(meta, expected):
    record = one(spectrum(meta=meta))
    assert (record.ra, record.dec) == pytest.approx(expected, nan_ok=True)


MASKED = [
    np.ma.masked,
    Masked(0.25, mask=True),
    Masked(0.25 * u.one, mask=True),
    MaskedColumn([0.25], mask=[True]),
    np.ma.array([0.25], mask=[True]),
]


@pytest.mark.parametrize("value", MASKED, ids=lambda value: type(value).__name__)
def test_what_is_masked_is_unknown(value):
    record = one(spectrum(meta={"redshift": value}))
    assert np.isnan(record.redshift)
    meta = {"frame": "rest", "redshift": value}
    assert "no redshift to undo it" in one(spectrum(meta=meta)).reason


@pytest.mark.parametrize(
    "value", [np.ma.masked, Masked(150.0, mask=True), Masked(150 * u.deg, mask=True)], ids=str
)
def test_a_masked_position_is_unknown(value):
    record = one(spectrum(meta={"ra": value, "dec": 2.0}))
    assert np.isnan(record.ra)
    assert record.dec == 2.0
    known = one(spectrum(meta={"ra": Masked(150 * u.deg, mask=False), "dec": 2.0}))
    assert known.ra == 150


def test_rows_of_which_some_are_masked():
    values = Masked([1.0, 2.0], mask=[False, True])
    obj = spectrum(
        flux=np.stack([FLUX, FLUX]),
        meta={
            "coord": SkyCoord(values * u.deg, [3, 4] * u.deg),
            "redshift": MaskedColumn([0.1, 0.2], mask=[True, False]),
        },
    )
    first, second = spectrum_records(obj)
    assert (first.ra, second.redshift) == (1.0, 0.2)
    assert np.isnan([first.redshift, second.ra]).all()


def test_coordinates_of_rows_keep_their_unit():
    obj = spectrum(
        flux=np.stack([FLUX, FLUX]), meta={"ra": Angle([1, 2], "hourangle"), "dec": [3, 4]}
    )
    assert [r.ra for r in spectrum_records(obj)] == pytest.approx([15, 30])


@pytest.mark.parametrize(
    "meta", [{"ra": [1, 2, 3]}, {"redshift": "high"}, {"ra": 3 * u.km}, {"quality": "bad"}]
)
def test_metadata_that_does_not_fit_is_refused(meta):
    name = next(iter(meta))
    with pytest.raises(InputError, match=rf"meta\['{name}'\] is .*expected one value or one for"):
        list(spectrum_records(spectrum(flux=np.stack([FLUX, FLUX]), meta=meta)))


def test_quality_and_survey_of_the_file_are_kept():
    record = one(
        spectrum(meta={"quality": Quality.SURVEY_WARNING, "object_id": 39627}), survey_name="desi"
    )
    assert record.quality == Quality.SURVEY_WARNING | Quality.NO_UNCERTAINTY
    assert record.object_id == "39627"
    assert record.survey == "desi"


# Batches


def test_grid_survives_json_and_is_checked():
    again = SpectrumPreprocessing(**json.loads(json.dumps(dataclasses.asdict(GRID))))
    assert again == GRID
    np.testing.assert_array_equal(again.edges, 4999 + 2.0 * np.arange(501))
    with pytest.raises(ValueError, match="expected n_pixels >= 1"):
        SpectrumPreprocessing(n_pixels=0)
    with pytest.raises(ValueError, match="wavelength_step"):
        SpectrumPreprocessing(wavelength_step=-1.0)


def test_a_clean_spectrum_on_the_grid_passes_unchanged():
    got = batch(
        spectrum(
            uncertainty=InverseVariance(np.full(500, 4.0)),
            meta={"object_id": "a", "ra": 1, "dec": 2, "redshift": 0.1},
        )
    )
    assert got.flux.shape == (1, 500, 1)
    assert got.flux.dtype == got.ivar.dtype == torch.float32
    np.testing.assert_allclose(got.flux[0, :, 0], FLUX, rtol=1e-6)
    np.testing.assert_allclose(got.ivar[0], 4.0, rtol=1e-6)
    assert got.coverage[0] == 1
    assert got.snr[0] == pytest.approx(np.median(FLUX) * 2, rel=1e-3)
    assert got.quality[0] == 0
    assert (got.object_id[0], got.ra[0], got.dec[0], got.redshift[0]) == ("a", 1, 2, 0.1)
    assert len(got) == 1


def test_fill_policy():
    mask = np.zeros(500, bool)
    mask[:50] = mask[100:111] = mask[450:] = True
    flux = np.where(mask, 1e6, 5.0 + WAVELENGTH / 1000)
    got = batch(spectrum(flux=flux, mask=mask, uncertainty=InverseVariance(np.ones(500))))
    filled = got.flux[0, :, 0].double().numpy()
    np.testing.assert_allclose(filled[50:450], 5.0 + WAVELENGTH[50:450] / 1000, rtol=1e-6)
    np.testing.assert_allclose(filled[:50], filled[50:450].mean(), rtol=1e-6)
    np.testing.assert_allclose(filled[450:], filled.mean(), rtol=1e-6)
    np.testing.assert_array_equal(got.ivar[0] == 0, mask)
    assert got.coverage[0] == pytest.approx(389 / 500)
    assert Quality(int(got.quality[0])) == Quality.PARTIAL_COVERAGE


def test_pixels_left_out_are_a_gap_and_not_wide_pixels():
    keep = np.ones(500, bool)
    keep[200:300] = False
    got = batch(spectrum(WAVELENGTH[keep], (FLUX + WAVELENGTH)[keep]))
    assert got.coverage[0] == pytest.approx(0.8)
    np.testing.assert_array_equal(got.ivar[0] > 0, keep)
    left, right = (FLUX + WAVELENGTH)[[199, 300]]
    np.testing.assert_allclose(got.flux[0, 249:251, 0], (left + right) / 2, rtol=1e-3)


def test_interleaved_orders_are_not_gaps():
    axis = np.sort(np.concatenate([WAVELENGTH, WAVELENGTH + 0.3]))
    assert batch(spectrum(axis, np.ones(1000))).coverage[0] == 1


@pytest.mark.parametrize(
    ("n_good", "bits"),
    [
        (500, Quality.GOOD),
        (476, Quality.GOOD),
        (474, Quality.PARTIAL_COVERAGE),
        (251, Quality.PARTIAL_COVERAGE),
        (249, Quality.PARTIAL_COVERAGE | Quality.MOSTLY_MASKED),
    ],
)
def test_bits_of_masked_spectra(n_good, bits):
    ivar = (np.arange(500) < n_good).astype(float)
    got = batch(spectrum(uncertainty=InverseVariance(ivar)))
    assert Quality(int(got.quality[0])) == bits


def test_a_short_spectrum_is_not_mostly_masked():
    got = batch(spectrum(WAVELENGTH[:100], FLUX[:100]))
    expected = Quality.PARTIAL_COVERAGE | Quality.NO_UNCERTAINTY
    assert Quality(int(got.quality[0])) == expected


def test_low_signal_to_noise():
    noisy = batch(spectrum(uncertainty=StdDevUncertainty(np.full(500, 50.0))))
    assert Quality(int(noisy.quality[0])) == Quality.LOW_SNR
    assert noisy.snr[0] == pytest.approx(0.2, abs=0.05)


def test_coarse_spectra_are_undersampled():
    coarse = spectrum(5000 + 4.5 * np.arange(250), np.ones(250))
    assert Quality.UNDERSAMPLED in Quality(int(batch(coarse).quality[0]))


NO_DATA = Quality.NO_DATA | Quality.NOT_EMBEDDED


@pytest.mark.parametrize(
    "obj",
    [
        spectrum(uncertainty=InverseVariance(np.zeros(500))),
        spectrum(mask=np.ones(500, bool)),
        spectrum(flux=np.full(500, np.nan)),
        spectrum(WAVELENGTH + 5000),
    ],
    ids=["no ivar", "all masked", "all NaN", "out of range"],
)
def test_no_usable_pixel(obj):
    got = batch(obj)
    assert NO_DATA in Quality(int(got.quality[0]))
    assert got.coverage[0] == 0
    assert np.isnan(got.snr[0])
    assert (got.flux == 0).all()
    assert (got.ivar == 0).all()


def test_failed_records_keep_their_row():
    failed = FailedRecord(
        object_id="b", reason="no unit", quality=Quality.NOT_EMBEDDED | Quality.SATURATED
    )
    got = spectrum_batch([one(spectrum(), object_id="a"), failed], GRID)
    assert got.object_id.tolist() == ["a", "b"]
    assert got.quality.tolist() == [Quality.NO_UNCERTAINTY, int(failed.quality)]
    assert got.flux[1].abs().sum() == 0


def test_empty_batch():
    got = spectrum_batch([], GRID)
    assert got.flux.shape == (0, 500, 1)
    assert len(got) == len(got.quality) == len(got.object_id) == 0


def test_grids_may_be_mixed():
    records = [one(spectrum(WAVELENGTH + shift, FLUX + shift)) for shift in (0, 0.5, 0, 0.25)]
    got = spectrum_batch(records, GRID)
    for i, record in enumerate(records):
        alone = spectrum_batch([record], GRID)
        torch.testing.assert_close(got.flux[i], alone.flux[0], rtol=1e-6, atol=0)
        assert torch.equal(got.ivar[i], alone.ivar[0])


def test_manga_spaxels(shared_dir):
    """A 2-D spectrum of real spaxels, as a user would build it."""
    with fits.open(shared_dir / "data" / "manga" / "MaNGA_test_spectra.fits.gz") as hdulist:
        data = {name: hdulist[name].data for name in ("WAVE", "FLUX", "IVAR", "MASK", "Z")}
    obj = Spectrum(
        flux=data["FLUX"] * FLUX_UNIT,
        spectral_axis=data["WAVE"] * u.AA,
        uncertainty=InverseVariance(data["IVAR"]),
        mask=data["MASK"] != 0,
        meta={"redshift": data["Z"]},
    )
    records = list(spectrum_records(obj, object_id="manga"))
    assert [r.redshift for r in records] == pytest.approx(data["Z"].tolist())
    got = spectrum_batch(records, SpectrumPreprocessing())
    assert torch.isfinite(got.flux).all()
    masked = (data["MASK"] != 0).all(axis=1)
    assert masked.sum() == 1
    np.testing.assert_array_equal((got.quality & Quality.NO_DATA) != 0, masked)
    assert (got.coverage[~masked] > 0.99).all()
    assert (got.snr[~masked] > 1).all()
    # The mean flux over 6000-6100 Å, from the file and on the model's grid.
    own = (data["WAVE"] > 6000) & (data["WAVE"] < 6100)
    grid = slice(3000, 3126)
    for i in np.flatnonzero(~masked):
        good = own & (data["MASK"][i] == 0) & (data["IVAR"][i] > 0)
        assert got.flux[i, grid, 0].mean() == pytest.approx(data["FLUX"][i][good].mean(), rel=0.02)
