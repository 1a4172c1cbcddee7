"""What the reader of each page has: files beside them, names in Python, archives that answer.

A page that is not named here is followed in an empty folder. A stage is a function of `folder`,
where the page is followed; `enter`, which enters a context until the page's end; and `install`,
the fixture. It returns the names that the page's Python knows from the beginning.
"""

import runpy
import shutil
import tomllib
from contextlib import contextmanager

import numpy as np
import pytest
import requests
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

import astroclip_astro as aa
from astroclip_astro.catalog import EmbeddingCatalog
from astroclip_astro.models import SpecFormer
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.sources.legacysurvey import conf as legacysurvey_conf
from astroclip_astro.sources.sparcl import SPARCL
from tests.catalog.samp_hub import samp_hub, samp_program
from tests.docs.pages import ROOT
from tests.sources.archive import Archive
from tests.sources.legacysurvey_archive import Viewer
from tests.sources.sparcl_archive import SPARCLArchive, mock_record

MOCKS = MockSurvey.bundled()
STAGES = {}


def stage(*pages):
    """Register the stage of some pages."""

    def register(function):
        STAGES.update(dict.fromkeys(pages, function))
        return function

    return register


# Files


def spec_file(path, i=0):
    """A mock's spectrum in the layout of BOSS's spec files."""
    mock = MOCKS.spectrum(i)
    coadd = Table({"flux": mock.flux.value.astype("f4")})
    coadd["loglam"] = np.log10(mock.spectral_axis.to_value(u.AA))
    coadd["ivar"] = mock.uncertainty.array.astype("f4")
    coadd["and_mask"] = np.zeros(mock.shape, np.int32)
    entry = Table({"PLATE": [266], "MJD": [51602], "FIBERID": [i + 1], "CLASS": ["GALAXY"]})
    entry["Z"], entry["ZWARNING"] = [mock.meta["redshift"]], [0]
    entry["PLUG_RA"], entry["PLUG_DEC"] = [mock.meta["ra"]], [mock.meta["dec"]]
    header = fits.Header({"TELESCOP": "SDSS 2.5-M", "VERS2D": "v5_13_0", "FIBERID": i + 1})
    tables = [fits.BinTableHDU(coadd), fits.BinTableHDU(entry, name="SPECOBJ")]
    fits.HDUList([fits.PrimaryHDU(header=header), *tables]).writeto(path)


def cutout_file(path, i=0):
    """A mock's cutout as the Legacy Surveys' viewer writes it."""
    mock = MOCKS.cutout(i)
    header = fits.Header({"SURVEY": "LegacySurvey", "BANDS": "grz", "IMAGEW": 152, "IMAGEH": 152})
    header.update(mock.wcs.to_header())
    path.parent.mkdir(exist_ok=True)
    fits.PrimaryHDU(mock.data.astype("f4"), header).writeto(path)


def some_files(folder):
    spec_file(folder / "spec-0266-51602-0001.fits")
    cutout_file(folder / "cutout.fits")
    cutout_file(folder / "cutouts" / "galaxy-1.fits", 1)


def some_catalog(folder):
    """A catalog "galaxies" with spectra and images of ten mocks."""
    objects = [read(i) for read in (MOCKS.spectrum, MOCKS.cutout) for i in range(10)]
    return EmbeddingCatalog.create(folder / "galaxies", aa.embed(objects))


# Archives


@contextmanager
def played(url, archive):
    """Let a local server answer what is asked of an address."""
    send = requests.adapters.HTTPAdapter.send

    def instead(self, request, **kwargs):
        if request.url.startswith(url):
            request.url = archive.url + request.url.removeprefix(url)
        return send(self, request, **kwargs)

    with archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.adapters.HTTPAdapter, "send", instead)
        yield archive


def play_legacysurvey(folder, enter, *bricks_around):
    viewer = Viewer()
    for ra, dec in bricks_around:
        viewer.add_bricks(ra, dec)
    enter(legacysurvey_conf.set_temp("cache_location", str(folder / "cache" / "LegacySurvey")))
    enter(played("https://www.legacysurvey.org", Archive(viewer)))
    enter(played("https://portal.nersc.gov/cfs/cosmo/data/legacysurvey", Bricks(viewer)))


class Bricks(Archive):
    """The bricks of a viewer, where the real ones are."""

    def __init__(self, viewer):
        super().__init__(viewer)
        self.url += "/data"


def play_sparcl(enter, records):
    patch = enter(pytest.MonkeyPatch.context())
    patch.setattr(SPARCL, "_fields", {})  # what it remembers of other servers of tests
    enter(played("https://astrosparcl.datalab.noirlab.edu", SPARCLArchive(records)))


# Pages


@stage("README.md")
def readme(folder, enter, install):
    some_files(folder)
    weights = SpecFormer(embed_dim=8, num_layers=1, num_heads=2).state_dict()
    torch.save(
        {"state_dict": weights, "hyper_parameters": {"num_heads": 2}}, folder / "astroclip.ckpt"
    )
    play_legacysurvey(folder, enter)
    play_sparcl(enter, [mock_record(i) for i in range(2)])
    return {"table_with_ra_and_dec": MOCKS.truth[["ra", "dec"]][:2]}


@stage("docs/cli.md")
def command_line(folder, enter, install):
    if shutil.which("jq") is None:
        pytest.skip("the page gives JSON to jq, which is not there")
    spec_file(folder / "spec-0266-51602-0001.fits")
    (folder / "spectra").mkdir()
    for i in range(2):
        spec_file(folder / "spectra" / f"spec-0266-51602-000{i + 1}.fits", i)
    (folder / ".config" / "fish" / "completions").mkdir(parents=True)
    return {}


@stage("docs/sources.md")
def images(folder, enter, install):
    play_legacysurvey(folder, enter, (186.5, 12.1))
    play_sparcl(enter, [mock_record(0)])
    return {"table": MOCKS.truth[["ra", "dec"]][:1]}


@stage("docs/spectra-sources.md")
def spectra_and_pairs(folder, enter, install):
    play_legacysurvey(folder, enter)
    places = [(60.007777, -0.877601), (150.1, 2.2)]
    play_sparcl(enter, [mock_record(i, ra=ra, dec=dec) for i, (ra, dec) in enumerate(places)])
    enter(aa.sources.sparcl.conf.set_temp("timeout", 60.0))  # the page changes it for good
    return {"coordinates": SkyCoord(places, unit="deg")}


@stage("docs/tasks.md")
def tasks(folder, enter, install):
    spec_file(folder / "spec-0266-51602-0001.fits")
    spectra = [MOCKS.spectrum(i) for i in range(40)]
    embeddings = aa.embed(spectra).isel(object=np.arange(300) % 40)
    return {
        "spectrum": spectra[0],
        "cutout": MOCKS.cutout(0),
        "spectra": spectra,
        "redshifts": MOCKS.truth["redshift"][:40],
        "others": [MOCKS.spectrum(30)],
        "embeddings": embeddings,
        "z": embeddings.redshift.values,
    }


#: The module that the page takes the spectra from.
MY_SURVEY = """\
from astroclip_astro.simulate import MockSurvey


def spectra(rows):
    return [MockSurvey.bundled().spectrum(i) for i in rows["number"]]
"""


@stage("docs/catalogs.md")
def catalogs(folder, enter, install):
    import lsdb

    spec_file(folder / "spectrum.fits")
    cutout_file(folder / "new-galaxy.fits")
    aa.embed([folder / "new-galaxy.fits"]).astroclip.save(folder / "embeddings.parquet")
    recipe = tomllib.loads((ROOT / "catalogs" / "mocks" / "recipe.toml").read_text("utf-8"))
    columns = ["object_id", *recipe["sources"][0]["columns"]]
    properties = MOCKS.truth[columns][:2]
    properties["object_id"] = ["new-galaxy", "0266-51602-0001"]
    properties.write(folder / "properties.ecsv")
    enter(samp_hub(folder))
    enter(samp_program("topcat"))
    # On a cluster: rows of a survey, what reads its spectra, and another catalog of the same sky.
    rows = MOCKS.truth[["object_id", "ra", "dec", "redshift"]][:4]
    rows["number"] = np.arange(len(rows))
    rows = Table(rows, units=dict.fromkeys(rows.colnames)).to_pandas()
    for name, margin in (("survey", 0), ("gaia", 5)):
        made = lsdb.from_dataframe(
            rows, catalog_name=name, highest_order=0, margin_threshold=margin or None
        )
        made.write_catalog(folder / name, as_collection=bool(margin))
    install("my-survey", {}, {"my_survey.py": MY_SURVEY})
    return {"query": MOCKS.spectrum(0)}


@stage("catalogs/README.md")
def recipes(folder, enter, install):
    (folder / "spectra").mkdir()
    spec_file(folder / "spectra" / "spec-0266-51602-0001.fits")
    recipe = (ROOT / "catalogs" / "mocks" / "recipe.toml").read_text(encoding="utf-8")
    (folder / "my-recipe.toml").write_text(recipe.replace('"mocks"\nt', '"my-recipe"\nt'))
    return {}


# Plugins: their pages are followed in a copy of their folder


def copied(page, folder):
    shutil.copytree(
        (ROOT / page).parent,
        folder,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"),
    )


def made_by_tests(path):
    """Names of a module of a plugin's tests, which know how to make its files."""
    return runpy.run_path(str(ROOT / "plugins" / path))


@stage("plugins/astroclip-gaia-xp/README.md")
def gaia_xp(folder, enter, install):
    copied("plugins/astroclip-gaia-xp/README.md", folder)
    mock = MOCKS.spectrum(0)
    flux = mock.flux.to(u.Unit("W m-2 nm-1"))
    table = QTable({"wavelength": np.arange(336.0, 1021.0, 2.0) * u.nm})
    table["flux"] = np.interp(table["wavelength"], mock.spectral_axis, flux)
    table["flux_error"] = np.full(len(table), np.median(flux) / 50)
    table.write(folder / "XP_SAMPLED-Gaia DR3 4295806720.fits")
    some_catalog(folder)
    return {}


@stage("plugins/astroclip-photometry/README.md")
def photometry(folder, enter, install):
    copied("plugins/astroclip-photometry/README.md", folder)
    table = Table({"ra": [150.1], "dec": [2.2], "TYPE": ["SER"]})
    for name in ("RELEASE", "BRICKID", "OBJID"):
        table[name] = np.ones(1, np.int32)
    for band in "grz":
        table[f"flux_{band}"], table[f"flux_ivar_{band}"] = np.ones((2, 1), "f4") * 30
    table.write(folder / "tractor-1054p567.fits")
    some_catalog(folder)
    return {}


@stage("plugins/astroclip-hsc/README.md")
def hsc(folder, enter, install):
    copied("plugins/astroclip-hsc/README.md", folder)
    made = made_by_tests("astroclip-hsc/tests/conftest.py")
    (folder / "cutouts").mkdir()
    for band in "GRZ":
        noise = np.random.default_rng(0).normal(0, 1, (241, 241))
        path = folder / f"cutout-HSC-{band}-9813-pdr2_wide.fits"
        made["make_file"](path, band, made["gaussian"](noise.shape, 18.0) + noise)
        shutil.copy(path, folder / "cutouts" / f"2-{path.name}")
    return {}


@stage("plugins/astroclip-sdss/README.md")
def sdss_images(folder, enter, install):
    from astroquery.sdss import conf

    copied("plugins/astroclip-sdss/README.md", folder)
    made = made_by_tests("astroclip-sdss/tests/conftest.py")
    archive = made["Archive"]()
    enter(_closing(archive))
    enter(conf.set_temp("skyserver_baseurl", archive.url))
    enter(conf.set_temp("sas_baseurl", f"{archive.url}/sas"))
    for band, content in archive.frames.items():
        (folder / f"frame-{band}-003699-4-0100.fits.bz2").write_bytes(content)
    return {}


@contextmanager
def _closing(archive):
    yield
    archive.close()


def new_plugin(kind, install):
    """Install what ``astroclip plugins new`` makes of a template; names of its tests' module."""
    folder = ROOT / "plugins" / "template" / kind
    modules = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.glob("astroclip_my_plugin/*.py")
    }
    install("astroclip-my-plugin", {"my-plugin": "astroclip_my_plugin"}, modules)
    return made_by_tests(f"template/{kind}/tests/test_plugin.py")


@stage("plugins/template/survey/README.md")
def new_survey(folder, enter, install):
    made = new_plugin("survey", install)
    path = made["write_example"](folder)
    shutil.copy(path, folder / "galaxy-2.fits")
    return {}


@stage("plugins/template/source/README.md")
def new_source(folder, enter, install):
    content = new_plugin("source", install)["spectrum"]()
    archive = enter(Archive(lambda path, query, body: (200, "application/fits", content)))
    from astroclip_my_plugin.archive import MyPluginSource

    MyPluginSource.url = archive.url
    return {}


@stage("plugins/template/task/README.md")
def new_task(folder, enter, install):
    new_plugin("task", install)
    known = [MOCKS.spectrum(i) for i in range(8)]
    return {"known": known, "known_redshifts": MOCKS.truth["redshift"][:8], "others": known[:2]}


@stage("plugins/template/modality/README.md")
def new_modality(folder, enter, install):
    new_plugin("modality", install)
    return {}
