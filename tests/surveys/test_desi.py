import csv

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from astroclip_astro.adapters.spectrum import (
    SpectrumPreprocessing,
    spectrum_batch,
    spectrum_records,
)
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.desi import DESI
from astroclip_astro.surveys.files import read

ARMS = {
    "B": 3600 + 0.8 * np.arange(2751),
    "R": 5760 + 0.8 * np.arange(2326),
    "Z": 7520 + 0.8 * np.arange(2881),
}
LEVEL = {"B": 1.0, "R": 2.0, "Z": 4.0}
IVAR = {"B": 1.0, "R": 3.0, "Z": 0.5}
GRID = 3600 + 0.8 * np.arange(7781)
IN_B_AND_R = (GRID > 5759.9) & (GRID < 5800.1)
IN_R_AND_Z = (GRID > 7519.9) & (GRID < 7620.1)


def fibermap(targetids, **columns):
    table = Table({"TARGETID": np.asarray(targetids, np.int64)})
    table["TARGET_RA"] = 150.0 + np.arange(len(table))
    table["TARGET_DEC"] = -2.0
    table["OBJTYPE"] = "TGT"
    table["COADD_FIBERSTATUS"] = np.zeros(len(table), np.int32)
    for name, values in columns.items():
        table[name] = values
    return table


def write(path, table, *, arms=ARMS, mask=True, edit=None, extra=()):
    """A file with one constant flux per arm, times the row's number counted from 1."""
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="FIBERMAP")]
    row = 1 + np.arange(len(table))[:, None]
    for arm, wavelength in arms.items():
        shape = len(table), wavelength.size
        # One part in 1e13 off the lattice, as in real files.
        hdus.append(fits.ImageHDU(wavelength * (1 + 1e-13), name=f"{arm}_WAVELENGTH"))
        flux = np.broadcast_to(row * LEVEL[arm], shape).astype(">f4")
        hdus.append(fits.ImageHDU(flux, name=f"{arm}_FLUX"))
        hdus[-1].header["BUNIT"] = "10**-17 erg/(s cm2 Angstrom)"
        hdus.append(fits.ImageHDU(np.full(shape, IVAR[arm], ">f4"), name=f"{arm}_IVAR"))
        if mask:
            hdus.append(fits.ImageHDU(np.zeros(shape, np.uint32), name=f"{arm}_MASK"))
    hdulist = fits.HDUList([*hdus, *extra])
    if edit:
        edit(hdulist)
    hdulist.writeto(path)
    return path


def redshift_table(targetids, name="REDSHIFTS", **columns):
    table = Table({"TARGETID": np.asarray(targetids, np.int64)})
    table["Z"] = 0.1 * np.arange(1, len(table) + 1)
    table["ZWARN"] = np.zeros(len(table), np.int64)
    table["SPECTYPE"] = "GALAXY"
    for key, values in columns.items():
        table[key] = values
    return fits.BinTableHDU(table, name=name)


def identified(path):
    with fits.open(path) as hdulist:
        return DESI().identify(path, hdulist)


def test_arms_are_merged_by_ivar_onto_one_lattice(tmp_path):
    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11, 12]))
    assert identified(path)
    first, second = DESI().read(path)
    np.testing.assert_allclose(first.spectral_axis.to_value(u.AA), GRID, rtol=0, atol=1e-9)
    assert first.flux.unit == u.Unit("1e-17 erg / (s cm2 Angstrom)")
    flux, ivar = first.flux.value, first.uncertainty.array
    alone = ~IN_B_AND_R & ~IN_R_AND_Z
    assert set(flux[alone]) == {1.0, 2.0, 4.0}
    np.testing.assert_allclose(flux[IN_B_AND_R], (1 * 1 + 2 * 3) / 4)
    np.testing.assert_allclose(ivar[IN_B_AND_R], 4)
    np.testing.assert_allclose(flux[IN_R_AND_Z], (2 * 3 + 4 * 0.5) / 3.5)
    np.testing.assert_allclose(ivar[IN_R_AND_Z], 3.5)
    assert not first.mask.any()
    np.testing.assert_allclose(second.flux.value, 2 * flux)
    assert [s.meta["object_id"] for s in (first, second)] == ["11", "12"]
    assert (second.meta["ra"], second.meta["dec"]) == (151.0, -2.0)
    assert np.isnan(first.meta["redshift"])
    assert first.meta["quality"] == Quality.GOOD


def test_a_recognised_file_is_read_as_one_that_is_named(tmp_path):
    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11, 12]))
    recognised, named = list(read(path)), list(read(path, "desi"))
    assert len(recognised) == 2
    for one, other in zip(recognised, named, strict=True):
        np.testing.assert_array_equal(one.flux, other.flux)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_merged_arms_are_the_model_grid(tmp_path):
    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11]))
    (record,) = spectrum_records(next(DESI().read(path)), survey=DESI(), survey_name="desi")
    np.testing.assert_allclose(record.edges, SpectrumPreprocessing().edges, rtol=0, atol=1e-6)
    batch = spectrum_batch([record], SpectrumPreprocessing())
    assert batch.coverage[0] == 1
    np.testing.assert_allclose(batch.flux[0, :, 0], record.flux, rtol=1e-6)


def test_masked_and_worthless_pixels(tmp_path):
    def edit(hdulist):
        hdulist["B_MASK"].data[0, 2705] = 4  # 5764 Å, also in R
        hdulist["B_IVAR"].data[0, 10] = 0
        hdulist["R_FLUX"].data[0, 500] = np.nan  # 6160 Å, R only
        hdulist["Z_FLUX"].data[0, 5] = np.inf  # 7524 Å, also in R

    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11]), edit=edit)
    (spectrum,) = DESI().read(path)
    flux, ivar = spectrum.flux.value, spectrum.uncertainty.array
    assert (flux[2705], ivar[2705]) == (2, 3)
    assert (flux[4905], ivar[4905]) == (2, 3)
    assert np.flatnonzero(spectrum.mask).tolist() == [10, 3200]
    assert np.isfinite(flux).all()
    assert spectrum.meta["quality"] == Quality.NON_FINITE


def test_exposures_of_one_target_are_averaged_in_its_first_place(tmp_path):
    table = fibermap([7, 5, 7, -3], FIBERSTATUS=[0, 0, 1, 0])
    table.remove_column("COADD_FIBERSTATUS")

    def edit(hdulist):
        for arm in "BRZ":
            hdulist[f"{arm}_IVAR"].data[2] *= 3

    path = write(tmp_path / "spectra-sv1-bright-1.fits", table, mask=False, edit=edit)
    seven, five, sky = DESI().read(path)
    assert [s.meta["object_id"] for s in (seven, five, sky)] == ["7", "5", "-3"]
    assert seven.flux.value[0] == pytest.approx((1 * 1 + 3 * 3) / 4)
    assert seven.uncertainty.array[0] == pytest.approx(4)
    assert five.flux.value[0] == 2
    assert seven.meta["quality"] == Quality.SURVEY_WARNING
    assert seven.meta["ra"] == 150.0


def test_empty_rows_are_yielded_and_become_no_data(tmp_path):
    def edit(hdulist):
        for arm in "BRZ":
            hdulist[f"{arm}_IVAR"].data[0] = 0

    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11, 12]), edit=edit)
    records = [r for s in DESI().read(path) for r in spectrum_records(s)]
    quality = spectrum_batch(records, SpectrumPreprocessing()).quality
    assert Quality.NO_DATA | Quality.NOT_EMBEDDED in Quality(int(quality[0]))
    assert quality[1] == 0


@pytest.mark.parametrize("name", ["REDSHIFTS", "ZBEST"])
def test_redshifts_of_the_same_file(tmp_path, name):
    path = write(
        tmp_path / "coadd-main-dark-1.fits",
        fibermap([11, 12]),
        extra=[redshift_table([12, 11], name)],
    )
    assert [s.meta["redshift"] for s in DESI().read(path)] == pytest.approx([0.2, 0.1])


@pytest.mark.parametrize("sibling", ["redrock-main-dark-1.fits", "zbest-main-dark-1.fits.gz"])
def test_redshifts_of_a_sibling_file(tmp_path, sibling):
    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11, 12, 13]))
    fits.HDUList([fits.PrimaryHDU(), redshift_table([13, 11])]).writeto(tmp_path / sibling)
    assert [s.meta["redshift"] for s in DESI().read(path)] == pytest.approx(
        [0.2, np.nan, 0.1], nan_ok=True
    )
    assert not identified(tmp_path / sibling)


def test_quality_from_targeting_and_redshift(tmp_path):
    table = fibermap([1, 2, 3, 4, 5], OBJTYPE=["SKY", "TGT", "TGT", "TGT", "TGT"])
    table["COADD_FIBERSTATUS"][4] = 512
    extra = redshift_table(
        [1, 2, 3, 4, 5],
        SPECTYPE=["GALAXY", "QSO", "STAR", "GALAXY", "GALAXY"],
        ZWARN=[0, 0, 0, 4, 0],
    )
    path = write(tmp_path / "coadd-main-dark-1.fits", table, extra=[extra])
    got = [s.meta["quality"] for s in DESI().read(path)]
    assert got == [Quality.NOT_A_GALAXY] * 3 + [Quality.SURVEY_WARNING] * 2


def test_arms_off_a_common_lattice_are_refused(tmp_path):
    arms = {**ARMS, "R": ARMS["R"] + 0.3}
    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11]), arms=arms)
    with pytest.raises(InputError, match=r"^coadd-main-dark-1.fits: the arms' wavelengths interl"):
        list(DESI().read(path))


def test_an_arm_may_be_missing(tmp_path):
    arms = {arm: ARMS[arm] for arm in "BZ"}
    path = write(tmp_path / "coadd-main-dark-1.fits", fibermap([11]), arms=arms)
    (record,) = spectrum_records(next(DESI().read(path)))
    batch = spectrum_batch([record], SpectrumPreprocessing())
    assert batch.coverage[0] == pytest.approx((2751 + 2881) / 7781)


def write_table(path, name="WAVELENGTH", columns=("TARGET21", "TARGET22")):
    wavelength = np.concatenate(list(ARMS.values()))
    level = np.concatenate([np.full(w.size, LEVEL[arm]) for arm, w in ARMS.items()])
    order = np.argsort(wavelength, kind="stable")
    table = Table({name: wavelength[order]})
    for i, column in enumerate(columns):
        table[column] = (i + 1) * level[order]
    table.write(path)
    return path


@pytest.mark.parametrize("name", ["WAVELENGTH", "WAVE"])
def test_concatenated_arms_without_uncertainty(tmp_path, name):
    path = write_table(tmp_path / "coadd-bgs-1.fits", name)
    zbest = redshift_table([21, 22], "ZBEST", TARGET_RA=[10.0, 20.0], TARGET_DEC=[1.0, 2.0])
    fits.HDUList([fits.PrimaryHDU(), zbest]).writeto(tmp_path / "zbest-bgs-1.fits")
    assert identified(path)
    first, second = DESI().read(path)
    np.testing.assert_allclose(first.spectral_axis.to_value(u.AA), GRID, rtol=0, atol=1e-9)
    np.testing.assert_allclose(first.flux.value[IN_B_AND_R], 1.5)
    np.testing.assert_allclose(second.flux.value[IN_R_AND_Z], 6.0)
    assert first.uncertainty is None
    assert second.meta["object_id"] == "22"
    assert (second.meta["redshift"], second.meta["ra"], second.meta["dec"]) == (0.2, 20, 2)


def test_rest_frame_stacks_are_recognised_and_refused(tmp_path):
    path = tmp_path / "stack.fits"
    names = ("FLUX", "IVAR", "WAVE")
    hdus = [fits.ImageHDU(np.ones((1, 9)), name=name) for name in names]
    stack = fits.BinTableHDU(Table({"NOBJ": [5]}), name="STACKINFO")
    fits.HDUList([fits.PrimaryHDU(), *hdus, stack]).writeto(path)
    assert identified(path)
    with pytest.raises(InputError, match=r"^stack.fits: this stack .* is in the rest frame"):
        list(DESI().read(path))


def test_other_files_are_not_claimed(tmp_path):
    path = tmp_path / "coadd-main-dark-1.fits"
    fits.PrimaryHDU(np.ones((3, 4, 4))).writeto(path)
    assert not identified(path)
    assert not DESI().identify(tmp_path / "a.jpg", None)
    with pytest.raises(InputError, match="expected a DESI coadd or spectra file"):
        list(DESI().read(path))
    for name, columns in (("WAVELENGTH", ("FLUX",)), ("WAVELENGTH", ()), ("X", ("TARGET1",))):
        other = write_table(tmp_path / f"{name}{len(columns)}.fits", name, columns)
        assert not identified(other)


def shared_files(shared_dir):
    files = sorted((shared_dir / "data").glob("desi_*/coadd-*.fits"))
    assert len(files) >= 8
    return files


def test_every_shared_file_reads(shared_dir):
    """Rows, grids and redshifts of real files, against tables made independently of this reader."""
    expected = {}
    with open(shared_dir / "data" / "desi_andes" / "andes_targets.csv") as lines:
        for row in csv.DictReader(lines):
            expected[row["targetid"]] = float(row["z"])
    expected |= {"39633345008634465": 0.36874, "39089837499744649": 0.00727}
    counts = {}
    for path in shared_files(shared_dir):
        assert identified(path)
        spectra = list(DESI().read(path))
        counts[path.name] = len(spectra)
        assert len({s.meta["object_id"] for s in spectra}) == len(spectra)
        for spectrum in spectra:
            assert spectrum.shape == (7781,)
            name = spectrum.meta["object_id"]
            assert spectrum.meta["redshift"] == pytest.approx(
                expected.get(name, np.nan), abs=5e-6, nan_ok=True
            )
    assert counts == {
        "coadd-bgs-66003-20200315_a.fits": 25,
        "coadd-elg-67230-20200315_a.fits": 25,
        "coadd-lrg-68002-20200315_a.fits": 25,
        "coadd-lrgqso-68002-20200315_a.fits": 18,
        "coadd-qso-68002-20200315_a.fits": 12,
        "coadd-4-80613-thru20210324.fits": 1,
        "coadd-5-169-thru20210419.fits": 5,
        "coadd-special-dark-27247.fits": 1,
    }


def test_shared_empty_rows_and_quasars_get_their_bits(shared_dir):
    folder = shared_dir / "data"
    path = folder / "desi_native" / "coadd-5-169-thru20210419.fits"
    records = [r for s in DESI().read(path) for r in spectrum_records(s)]
    bits = [Quality(int(q)) for q in spectrum_batch(records, SpectrumPreprocessing()).quality]
    assert [Quality.NO_DATA in b for b in bits] == [True, True, True, True, False]
    quasars = DESI().read(folder / "desi_andes" / "coadd-qso-68002-20200315_a.fits")
    assert all(Quality.NOT_A_GALAXY in s.meta["quality"] for s in quasars)
    stack = folder / "desi_native" / "stack-LRG.fits"
    with pytest.raises(InputError, match="rest frame"):
        list(DESI().read(stack))


def test_shared_coadd_agrees_with_specutils(shared_dir):
    """Outside the overlaps, the merged spectrum is what specutils' own loader reads."""
    from specutils import SpectrumList

    path = shared_dir / "data" / "desi_native" / "coadd-4-80613-thru20210324.fits"
    (ours,) = DESI().read(path)
    for arm in SpectrumList.read(path, format="DESI coadd"):
        wavelength = arm.spectral_axis.to_value(u.AA)
        index = np.round((wavelength - 3600) / 0.8).astype(int)
        once = ~(IN_B_AND_R | IN_R_AND_Z)[index]
        np.testing.assert_allclose(
            ours.flux.value[index][once], arm.flux.value[0][once], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(
            ours.uncertainty.array[index][once], arm.uncertainty.array[0][once], rtol=1e-6
        )
