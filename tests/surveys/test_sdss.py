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
from astroclip_astro.plugins.manager import Manager
from astroclip_astro.quality import Quality
from astroclip_astro.surveys import files
from astroclip_astro.surveys.desi import DESI
from astroclip_astro.surveys.sdss import SDSS

LOGLAM = (3.5801 + 1e-4 * np.arange(3800)).astype(np.float32)
LEGACY = {
    "PLATE": 266,
    "MJD": 51602,
    "FIBERID": 1,
    "PLUG_RA": 146.7,
    "PLUG_DEC": -1.04,
    "CLASS": "GALAXY",
    "SOURCETYPE": "GALAXY",
    "Z": np.float32(0.02127545),
    "ZWARNING": 0,
}


def write(path, entry=LEGACY, *, case=str.lower, name="SPECOBJ", edit=None, header=None):
    coadd = Table()
    coadd[case("FLUX")] = np.full(LOGLAM.size, 5.0, np.float32)
    coadd[case("LOGLAM")] = LOGLAM
    coadd[case("IVAR")] = np.full(LOGLAM.size, 4.0, np.float32)
    coadd[case("AND_MASK")] = np.zeros(LOGLAM.size, np.int32)
    if edit:
        edit(coadd)
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(coadd, name="COADD")]
    hdus[0].header.update(header if header is not None else {"BUNIT": "1E-17 erg/cm^2/s/Ang"})
    if entry is not None:
        table = Table({case(key): [value] for key, value in entry.items()})
        hdus.append(fits.BinTableHDU(table, name=name))
    fits.HDUList(hdus).writeto(path)
    return path


def read(path):
    (spectrum,) = SDSS().read(path)
    return spectrum


def identified(path, survey=SDSS):
    with fits.open(path) as hdulist:
        return survey().identify(path, hdulist)


@pytest.mark.parametrize("case", [str.lower, str.upper])
@pytest.mark.parametrize("name", ["SPECOBJ", "SPALL", ""])
def test_reads_flux_wavelength_ivar_and_description(tmp_path, case, name):
    path = write(tmp_path / "spec-0266-51602-0001.fits", case=case, name=name)
    assert identified(path)
    assert not identified(path, DESI)
    spectrum = read(path)
    assert spectrum.flux.unit == u.Unit("1e-17 erg / (s cm2 Angstrom)")
    np.testing.assert_array_equal(spectrum.flux.value, 5.0)
    np.testing.assert_allclose(
        spectrum.spectral_axis.to_value(u.AA), 10 ** (3.5801 + 1e-4 * np.arange(3800)), rtol=1e-12
    )
    np.testing.assert_array_equal(spectrum.uncertainty.array, 4.0)
    assert not spectrum.mask.any()
    assert spectrum.meta == {
        "object_id": "0266-51602-0001",
        "ra": 146.7,
        "dec": -1.04,
        "redshift": pytest.approx(0.02127545),
        "quality": Quality.GOOD,
    }


def test_only_bits_that_spoil_the_flux_mask_it(tmp_path):
    def edit(coadd):
        coadd["ivar"][3] = 0
        coadd["and_mask"][10:14] = 1 << np.array([23, 24, 27, 28])
        coadd["and_mask"][20:2000] = 1 << 4  # MANYBADCOLUMNS
        coadd["and_mask"][30] = 1 << 16 | 1 << 23

    path = write(tmp_path / "spec-0266-51602-0001.fits", edit=edit)
    assert np.flatnonzero(read(path).mask).tolist() == [3, 10, 11, 12, 13, 30]


@pytest.mark.parametrize(
    ("change", "bits"),
    [
        ({"CLASS": "STAR  "}, Quality.NOT_A_GALAXY),
        ({"CLASS": "QSO"}, Quality.NOT_A_GALAXY),
        ({"SOURCETYPE": "SKY"}, Quality.NOT_A_GALAXY),
        ({"OBJTYPE": "SKY"}, Quality.NOT_A_GALAXY),
        ({"ZWARNING": 16}, Quality.SURVEY_WARNING),
        ({"SOURCETYPE": "QSO"}, Quality.GOOD),
    ],
)
def test_quality(tmp_path, change, bits):
    path = write(tmp_path / "spec-0266-51602-0001.fits", {**LEGACY, **change})
    assert read(path).meta["quality"] == bits


def test_sdss_v_description(tmp_path):
    entry = {
        "FIELD": 15143,
        "MJD": 59205,
        "CATALOGID": 4544940698,
        "RACAT": 10.0,
        "DECCAT": 20.0,
        "CLASS": "GALAXY",
        "Z": 0.3,
        "ZWARNING": 0,
    }
    path = write(tmp_path / "spec-015143-59205-4544940698.fits", entry, name="SPALL")
    meta = read(path).meta
    assert meta["object_id"] == "015143-59205-4544940698"
    assert (meta["ra"], meta["dec"], meta["redshift"]) == (10.0, 20.0, 0.3)


def test_without_a_description(tmp_path):
    header = {"PLATEID": 358, "MJD": 51818, "FIBERID": 504, "PLUG_RA": 263.7, "PLUG_DEC": 57.0}
    meta = read(write(tmp_path / "a.fits", None, header=header)).meta
    assert meta["object_id"] == "0358-51818-0504"
    assert (meta["ra"], meta["dec"]) == (263.7, 57.0)
    assert np.isnan(meta["redshift"])
    meta = read(write(tmp_path / "spec-b.fits", None)).meta
    assert meta["object_id"] == "b"
    assert np.isnan(meta["ra"])


@pytest.mark.parametrize(
    "bunit", ["1E-17 erg/cm^2/s/Ang", "1E-17 erg/cm^2/s/Angstrom", "1e-17 erg / (s cm2 Angstrom)"]
)
def test_flux_units(tmp_path, bunit):
    path = write(tmp_path / "spec-a.fits", header={"BUNIT": bunit})
    assert read(path).flux.unit.to("1e-17 erg / (s cm2 Angstrom)") == pytest.approx(1)


def test_strange_files_are_refused(tmp_path):
    path = write(tmp_path / "spec-a.fits", header={"BUNIT": "furlong"})
    with pytest.raises(InputError, match=r"^spec-a.fits: BUNIT 'furlong' is not understood"):
        read(path)
    image = tmp_path / "spec-b.fits"
    fits.PrimaryHDU(np.ones((3, 4))).writeto(image)
    assert not identified(image)
    assert not SDSS().identify(image, None)
    with pytest.raises(InputError, match=r"^spec-b.fits: expected an SDSS spec-\*.fits file"):
        read(image)


def test_every_shared_file_reads(shared_dir):
    """Redshifts, classes and coordinates of real files, against a table made from their headers."""
    folder = shared_dir / "data" / "sdss_spectra"
    with open(folder / "sdss_spectra.csv") as lines:
        expected = {row["file"]: row for row in csv.DictReader(lines)}
    galaxies = [path for path in sorted(folder.glob("*.fits")) if "control" not in path.name]
    assert len(galaxies) >= 24
    records = []
    for path in galaxies:
        assert identified(path)
        assert not identified(path, DESI)
        meta, row = read(path).meta, expected[path.name]
        assert meta["redshift"] == pytest.approx(float(row["z"]), abs=1e-6)
        assert (meta["ra"], meta["dec"]) == pytest.approx(
            (float(row["ra"]), float(row["dec"])), abs=1e-6
        )
        warned = int(row["zwarning"]) != 0
        assert meta["quality"] == (Quality.SURVEY_WARNING if warned else Quality.GOOD)
        if path.name.startswith("spec-"):
            assert path.name == f"spec-{meta['object_id']}.fits"
        records.extend(spectrum_records(read(path), survey=SDSS(), survey_name="sdss"))
    batch = spectrum_batch(records, SpectrumPreprocessing())
    assert (batch.coverage > 0.7).all()
    assert (batch.snr > 4).all()
    assert not (batch.quality & Quality.NOT_EMBEDDED).any()


def test_shared_paired_spectra_read(shared_dir):
    paths = sorted((shared_dir / "data" / "pairs_legacyjpg_sdssspec").glob("spec-*.fits"))
    assert len(paths) == 10
    assert {read(path).meta["quality"] for path in paths} == {Quality.GOOD}
    by_id = {read(path).meta["object_id"]: read(path).meta["redshift"] for path in paths}
    assert by_id["0268-51633-0074"] == pytest.approx(0.09193, abs=5e-6)
    assert by_id["0266-51630-0215"] == pytest.approx(0.02165, abs=5e-6)


def test_shared_controls_are_no_galaxies(shared_dir):
    paths = sorted((shared_dir / "data" / "sdss_spectra").glob("control_*.fits"))
    assert len(paths) == 4
    for path in paths:
        assert Quality.NOT_A_GALAXY in read(path).meta["quality"]


@pytest.mark.parametrize(("untouched", "times"), [(True, 1), (False, 2)])
def test_a_recognised_file_is_opened_anew_only_after_plugins(
    tmp_path, sdss_file, monkeypatch, untouched, times
):
    opened, real = [], fits.open

    def count(path, *args, **settings):
        opened.append(path)
        return real(path, *args, **settings)

    path = sdss_file(tmp_path, 1)
    monkeypatch.setattr("astropy.io.fits.open", count)
    monkeypatch.setattr("astroclip_astro.surveys.files._untouched", lambda: untouched)
    (found,) = files.read(path)
    assert found.meta["object_id"] == "0001-55555-0001"
    assert opened == [path] * times


def test_only_built_in_surveys_leave_a_file_untouched(install, monkeypatch):
    module = """
        from astroclip_astro.plugins import SurveyEntry, hookimpl

        @hookimpl
        def register_surveys():
            yield SurveyEntry(
                name="foreign", summary="S", factory="foreign:Foreign", modality="spectrum"
            )
    """
    monkeypatch.setattr(files, "get_manager", lambda: Manager({}))
    assert files._untouched()
    install("foreign", {"foreign": "foreign"}, {"foreign.py": module})
    assert not files._untouched()
