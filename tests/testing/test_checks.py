"""Every check passes for plugins that are right, and fails for one that is broken."""

# ruff: noqa: E501 - a broken plugin a line is easier to read

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

from astroclip_astro.embeddings import make_embeddings
from astroclip_astro.plugins import get_manager
from astroclip_astro.plugins.template import KINDS
from astroclip_astro.tasks.questions import GALAXY_ZOO, checked_questions, vote_columns
from astroclip_astro.testing import plugin as plugin_checks
from astroclip_astro.testing import run_checks
from astroclip_astro.testing.foreign import opened
from astroclip_astro.testing.runner import cases

ABOUT = {"model": "toy", "weights_sha256": "ab" * 32, "preprocessing": "0123456789abcdef"}


def module_of(folder):
    """The module with the tests that a new plugin comes with."""
    spec = spec_from_file_location("tests_of_a_new_plugin", folder / "tests" / "test_plugin.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example_of(kind, folder):
    if kind == "survey":
        return module_of(folder).write_example
    return module_of(folder).example if kind == "modality" else None


def result_of(check, example=None, name="mine"):
    (case,) = [case for case in cases(name, example) if case.check.name == check]
    return case.run()


def failing(results):
    return [f"{r.subject}: {r.check}: {r.message}" for r in results if r.outcome == "failed"]


@pytest.fixture(scope="module")
def embeddings():
    rng = np.random.default_rng(0)
    columns = {"object_id": [f"g{i}" for i in range(64)], "modality": ["image"] * 64}
    columns |= {"survey": [""] * 64, "quality": np.zeros(64, int)}
    columns |= {name: np.zeros(64) for name in ("ra", "dec", "coverage", "snr")}
    columns["redshift"] = rng.uniform(0.1, 0.5, 64)
    return make_embeddings(rng.normal(size=(64, 8)).astype(np.float32), columns, ABOUT)


def test_what_comes_with_the_package_passes(embeddings, sdss_file, tmp_path):
    rng = np.random.default_rng(1)
    names = vote_columns(checked_questions(GALAXY_ZOO))
    votes = Table({name: rng.integers(1, 9, 64) for name in names})
    example = {
        "survey sdss": sdss_file(tmp_path, 1),
        "task votes": (embeddings, votes),
        "task fixed-redshift": (embeddings, None),
    }
    results = run_checks("builtin", example)
    assert failing(results) == []
    assert {r.check for r in results if r.subject == "survey sdss" and r.outcome == "passed"} >= {
        "embeds",
        "gives-the-same-vector-twice",
        "describes-objects",
    }


def test_what_comes_with_the_package_does_not_fail_without_examples():
    found = [case.run() for case in cases("builtin") if case.subject.name.startswith("task ")]
    assert failing(found) == []
    reasons = {(r.subject, r.check): r.message for r in found if r.outcome == "skipped"}
    for place in [("task votes", "fit-returns-itself"), ("task fixed-redshift", "predicts")]:
        assert reasons[place].startswith("no example: give parametrize_with_checks(…, example=(X")
    assert "plain vectors state no redshifts" in reasons["task fixed-redshift", "saves-and-loads"]


def test_example_that_a_task_refuses_fails(embeddings):
    example = {"task votes": (embeddings, Table({"likes": np.ones(64)}))}
    found = [case for case in cases("builtin", example) if case.subject.name == "task votes"]
    (fit,) = [case.run() for case in found if case.check.name == "fit-returns-itself"]
    assert fit.outcome == "failed"
    assert "y has no column smooth-or-featured_smooth" in fit.message


def test_files_are_opened_for_identify_as_they_are_in_use(tmp_path):
    table = tmp_path / "lines.fitted.csv"
    table.write_text("wavelength,flux\n1,2\n")
    with opened(table) as hdulist:
        assert hdulist is None
    image = tmp_path / "image.FIT.gz"
    fits.PrimaryHDU().writeto(tmp_path / "image.fits.gz")
    (tmp_path / "image.fits.gz").rename(image)
    with opened(image) as hdulist:
        assert len(hdulist) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_new_plugins_pass(kind, plugin):
    results = run_checks("mine", example_of(kind, plugin(kind)))
    assert failing(results) == []
    skipped = {result.check for result in results if result.outcome == "skipped"}
    expected = {
        "survey": set(),
        "modality": {"says-what-to-cite"},
        "task": {"says-what-to-cite"},
        "source": {"fetches-what-can-be-embedded"},
    }
    assert skipped == expected[kind]


def test_images_as_the_readme_of_a_new_survey_has_them(plugin, tmp_path):
    folder = plugin("survey", ('modality="spectrum"', 'modality="image"'))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    code = readme.rpartition("```python\n")[2].partition("```")[0]
    (tmp_path / "site" / "astroclip_mine" / "survey.py").write_text(code, encoding="utf-8")
    header = fits.Header({"SURVEY": "mine", "OBJECT": "galaxy-1", "RA": 150.1, "DEC": 2.2})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1, "CRVAL2": 2.2})
    header.update({"CRPIX1": 80.5, "CRPIX2": 80.5})
    header.update({"CDELT1": -0.262 / 3600, "CDELT2": 0.262 / 3600})
    planes = np.random.default_rng(0).normal(0.1, 0.01, (3, 160, 160))
    fits.PrimaryHDU(planes, header).writeto(tmp_path / "image.fits")
    results = run_checks("mine", tmp_path / "image.fits")
    assert failing(results) == []
    assert [r.check for r in results if r.outcome == "skipped"] == ["gives-uncertainties"]


HOOK = "@hookimpl\ndef register_"
IDENTIFY = 'return hdulist is not None and hdulist[-1].header.get("SURVEY") == "mine"'
META = "meta={name: table.meta[keyword] for name, keyword in KEYWORDS.items()}"
KNOWN = '"object_id": "a", "ra": 1.0, "dec": 2.0, "redshift": 0.1'
READ = "table = QTable.read(path, mask_invalid=False)"
FLUX = 'flux=table["flux"]'
AXIS = 'spectral_axis=table["wavelength"]'
IVAR = 'uncertainty=InverseVariance(table["ivar"])'

BROKEN_SURVEYS = [
    ("is-installed", "from astroclip_astro", "raise SystemExit(3)\nfrom astroclip_astro", "not loa"),
    ("is-installed", "from astroclip_astro.plugins import", "from nowhere import", "No module name"),
    ("prints-nothing", HOOK, f"print('hello')\n\n{HOOK}", r"it prints 'hello\n'"),
    ("prints-nothing", HOOK, f"import os\nos.write(1, b'hi')\n\n{HOOK}", "it prints 'hi'"),
    ("imports-light", HOOK, f"import specutils\n\n{HOOK}", "it imports astropy, specutils"),
    ("hooks-yield-entries", "register_surveys", "register_survey", "there is no hook register_surv"),
    ("hooks-yield-entries", HOOK, "def register_", "it is not marked with @hookimpl"),
    ("hooks-yield-entries", "yield SurveyEntry(", "yield dict(", "expected a SurveyEntry"),
    ("hooks-yield-entries", "    yield", "    return []\n    yield", "it registers nothing"),
    ("names-are-free", 'name="mine"', 'name="desi"', "already registered by plugin 'builtin'"),
    ("factory-loads", ".survey:Mine", ".nowhere:Mine", "No module named 'astroclip_mine.nowhere'"),
    ("factory-loads", ".survey:Mine", ".survey:Yours", "no attribute 'YoursSurvey'"),
    ("factory-loads", "KEYWORDS = ", "raise SystemExit(2)\nKEYWORDS = ", "SystemExit: 2"),
    ("factory-loads", ":MineSurvey", ":KEYWORDS", "expected a class"),
    ("says-what-to-cite", "paper of the survey mine", " ", "it has no citation"),
    ("says-what-to-cite", '        licence="licence of its data",\n', "", "it has no licence"),
    ("is-a-survey", "(Survey)", "", "expected a Survey"),
    ("is-a-survey", '"spectrum", "vacuum"', '"image", "vacuum"', "its modality is 'image', its entr"),
    ("is-a-survey", '"spectrum"', '"sound"', "there is no modality 'sound'"),
    ("is-a-survey", '"vacuum"', '"water"', "its medium is 'water'"),
    ("is-a-survey", "    def read(", "    def __init__(self, x):\n        x\n\n    def read(", "missin"),
    ("refuses-foreign-files", IDENTIFY, "return hdulist is not None", "it takes foreign-empty.fits"),
    ("refuses-foreign-files", IDENTIFY, "return path.suffix == '.ecsv'", "it takes foreign-table.e"),
    ("refuses-foreign-files", IDENTIFY, "return hdulist[0].header['NAXIS'] == 7", "TypeError: 'Non"),
    ("refuses-foreign-files", IDENTIFY, "return None", "returned None for foreign-"),
    ("refuses-foreign-files", IDENTIFY, "import time; time.sleep(30)", "did not end within 0.5 s"),
    ("recognises-its-files", '"SURVEY"', '"ARCHIVE"', "identify returned False for galaxy-1.fits"),
    ("reads-objects", READ, f"return []\n        {READ}", "there is nothing in galaxy-1.fits"),
    ("reads-objects", READ, "table = 1 / 0", "ZeroDivisionError: division by zero ("),
    ("reads-objects", "yield Spectrum(", "yield dict(", "gives a dict, expected Spectrum"),
    ("reads-objects", "yield Spectrum(", f"yield Spectrum({AXIS}, {FLUX}[None])\n        yield Spectrum(", "gives a Spectrum of shape (1, 4000)"),
    ("gives-units", "yield Spectrum(", f"yield Spectrum({AXIS}, {FLUX} * {AXIS[14:]})\n        yield Spectrum(", "flux is in 'erg / (s cm2)'"),
    ("gives-units", AXIS, f"{AXIS}.value * __import__('astropy.units').units.pix", "has spectral unit 'pix'"),
    ("gives-uncertainties", IVAR, 'uncertainty=InverseVariance(-table["ivar"])', "no uncertainty th"),
    ("gives-uncertainties", IVAR, 'uncertainty=InverseVariance(0 * table["ivar"])', "no uncertainty"),
    ("masks-bad-pixels", FLUX, f"{FLUX} * float('nan'), mask=table['ivar'] < 0", "4000 pixels that"),
    ("masks-bad-pixels", FLUX, f"{FLUX}, mask=[0] * 4000", "has a mask of int64 (4000,)"),
    ("describes-objects", META, "meta={}", "object 0 has object_id None"),
    ("describes-objects", META, "meta={'object_id': 17}", "object 0 has object_id 17"),
    ("describes-objects", META, f"meta={{{KNOWN}, 'ra': 400}}", "a has ra 400.0"),
    ("describes-objects", META, f"meta={{{KNOWN}, 'dec': None}}", "a has ra 1.0 and dec nan"),
    ("describes-objects", META, f"meta={{{KNOWN}, 'redshift': 'low'}}", "a has redshift 'low'"),
    ("describes-objects", META, f"meta={{{KNOWN}, 'quality': 1 << 30}}", "a has quality 1073741824"),
    ("describes-objects", "        yield", "        for _ in 'ab': yield", "two objects have object"),
    ("embeds", 'table["wavelength"]', 'table["wavelength"] / 100', "NO_DATA"),
    ("embeds", IVAR, 'uncertainty=InverseVariance(0 * table["ivar"])', "NO_DATA"),
    ("gives-the-same-vector-twice", FLUX, f"{FLUX} * (1 + id(table) % 97)", "others at the second t"),
    ("gives-the-same-vector-twice", READ, f"import time\n        {READ}\n        table['flux'] *= "
     "1 + time.time_ns() % 1000", "others at the second time"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "message"), BROKEN_SURVEYS)
def test_broken_survey_fails(check, old, new, message, plugin, monkeypatch):
    monkeypatch.setenv("ASTROCLIP_PLUGIN_TIMEOUT", "0.5" if "sleep" in new else "30")
    folder = plugin("survey", (old, new))
    result = result_of(check, example_of("survey", folder))
    assert result.outcome == "failed", result.message
    assert message in result.message
    assert result.fix
    assert result.asserts


BASE = "    def _learn(self, x, y):"
PREDICT = "    def predict(self, X):\n        {}\n\n" + BASE
STORE = "self.strength = strength"

BROKEN_TASKS = [
    ("constructor-only-stores", STORE, "self.strength = [strength]", "is stored as [1.0]"),
    ("constructor-only-stores", STORE, f"{STORE}; self.ready = True", "sets ready as well"),
    ("constructor-only-stores", STORE, "pass", "parameter strength is not stored"),
    ("constructor-only-stores", "strength=1.0", "strength", "parameter strength has no default"),
    ("constructor-only-stores", "strength=1.0", "strength=1.0, **more", "takes *more"),
    ("constructor-only-stores", ":MineTask", ":Predictive", "it has no fit"),
    ("parameters-can-be-got-and-set", BASE, "    def get_params(self, deep=True):\n        return {}\n"
     f"\n{BASE}", "get_params gives [], not ['strength']"),
    ("parameters-can-be-got-and-set", BASE, "    def set_params(self, **given):\n        return self\n"
     f"\n{BASE}", "set_params does not change strength"),
    ("predict-before-fit-raises", BASE, PREDICT.format("return np.zeros(len(X))"), "before fit"),
    ("fit-returns-itself", BASE, "    def fit(self, X, y):\n        super().fit(X, y)\n\n" + BASE,
     "fit returned None"),
    ("fit-returns-itself", "        self.sigma_ =", "        self.width = 1\n        self.sigma_ =",
     "fit sets width"),
    ("fit-returns-itself", "        self.sigma_ =", "        self.strength = 2\n        self.sigma_ =",
     "fit changes the parameters strength"),
    ("predicts", BASE, PREDICT.format("return super().predict(X)[1:]"), "64 objects have 63 predict"),
    ("predicts", BASE, PREDICT.format("return super().predict(X) * np.nan"), "64 of 64 predictions"),
    ("predicts", BASE, PREDICT.format("return 0.5"), "expected one value per object"),
    ("predicts-each-object-alone", BASE, PREDICT.format("p = super().predict(X); return p - p.mean()"),
     "depends on what else is asked"),
    ("saves-and-loads", 'kind = "mine"', 'kind = "linear"', "it is registered as 'mine'"),
    ("saves-and-loads", ', "slope_"', "", "has no attribute 'slope_'"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "message"), BROKEN_TASKS)
def test_broken_task_fails(check, old, new, message, plugin):
    plugin("task", (old, new))
    result = result_of(check)
    assert result.outcome == "failed", result.message
    assert message in result.message


FETCH = "def fetch(self, coordinate):"

BROKEN_SOURCES = [
    ("is-a-source", "(Source)", "", "expected a Source"),
    ("is-a-source", '"spectrum"', '"sound"', "there is no modality 'sound'"),
    ("is-a-source", 'survey = ""', 'survey = "sdsss"', "there is no survey 'sdsss'"),
    ("is-a-source", 'survey = ""', 'survey = "legacysurvey"', "is of image data, not of spectrum"),
    ("is-a-source", "connections = 2", "connections = 0", "its connections is 0"),
    ("contacts-nobody", "    radius", "    def __init__(self):\n        import socket\n        try:\n"
     "            socket.create_connection(('127.0.0.1', 9), 0.1)\n        except OSError:\n"
     "            pass\n\n    radius", "making it calls socket.getaddrinfo, socket.connect"),
    ("contacts-nobody", "    radius", "    def __init__(self):\n        raise SystemExit('no net')\n\n"
     "    radius", "a Python that does this alone fails: no net"),
    ("fetch-takes-a-coordinate", FETCH, "def fetch(self, ra, dec):", "cannot be called with one"),
    ("fetch-takes-a-coordinate", FETCH, "def get(self, coordinate):", "it has no fetch of its own"),
    ("fetches-what-can-be-embedded", FETCH, f"{FETCH}\n        return [1]", "fetch returned a list"),
    ("fetches-what-can-be-embedded", FETCH, f"{FETCH}\n        return 'x.fits'", "no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "message"), BROKEN_SOURCES)
def test_broken_source_fails(check, old, new, message, plugin):
    plugin("source", (old, new))
    result = result_of(check, SkyCoord(150.1, 2.2, unit="deg"))
    assert result.outcome == "failed", result.message
    assert message in result.message


ROWS = "for i, row in enumerate(obj):"

BROKEN_MODALITIES = [
    ("is-a-modality", "(Modality)", "", "expected a Modality"),
    ("is-a-modality", "preprocessing = MinePreprocessing", "preprocessing = dict", "a frozen datacl"),
    ("is-a-modality", "(frozen=True, kw_only=True)", "", "a frozen dataclass"),
    ("accepts-only-its-own", "return isinstance(obj, Table) and", "return", "no attribute 'colname"),
    ("accepts-only-its-own", "isinstance(obj, Table) and", "True or", "it accepts None"),
    ("accepts-only-its-own", "isinstance(obj, Table) and", "obj and", "accepts returned None for None"),
    ("accepts-only-its-own", ".bands} <= ", ".bands, 'u'} <= ", "it does not accept the example"),
    ("accepts-only-its-own", "return False", "return None", "is_single returned None"),
    ("makes-records-in-order", ROWS, f"{ROWS}\n            return", "there is no record"),
    ("makes-records-in-order", ROWS, f"{ROWS}\n            yield row", "expected a Record"),
    ("makes-records-in-order", 'modality: ClassVar[str] = "mine"', 'modality: ClassVar[str] = "x"',
     "has modality 'x', not 'mine'"),
    ("makes-records-in-order", 'name = str(row["object_id"])', 'name = str("a")', "same object_id"),
    ("fails-softly", "if np.isfinite(flux).all():", "if True:", "is NaN and is embedded all the same"),
    ("fails-softly", "if np.isfinite(flux).all():", "flux[np.isfinite(flux)][0]\n            if True:",
     "IndexError: "),
    ("makes-batches", "quality[i] |= int(Quality.NOT_EMBEDDED)", "pass", "lacks NOT_EMBEDDED"),
    ("makes-batches", "torch.zeros(", "torch.ones(", "a row with NOT_EMBEDDED is not zero"),
    ("makes-batches", "flux=flux.to(device)", "flux=flux.double()", "flux is torch.float64"),
    ("makes-batches", "flux=flux.to(device)", "flux=flux / 0", "flux is not finite everywhere"),
    ("makes-batches", "flux=flux.to(device)", "flux=flux[1:]", "flux has 3 rows for 4 records"),
    ("makes-model-input", "torch.asinh(flux / ", "torch.asinh(flux[0] / ", "model_input has 3 rows"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "message"), BROKEN_MODALITIES)
def test_broken_modality_fails(check, old, new, message, plugin):
    folder = plugin("modality", (old, new))
    result = result_of(check, example_of("modality", folder))
    assert result.outcome == "failed", result.message
    assert message in result.message


def test_every_check_has_a_plugin_that_fails_it():
    tried = {
        case[0]
        for broken in (BROKEN_SURVEYS, BROKEN_TASKS, BROKEN_SOURCES, BROKEN_MODALITIES)
        for case in broken
    } | {"version-is-known"}  # which has a test of its own
    modules = [import_module(f"astroclip_astro.testing.{kind}") for kind in KINDS]
    checks = {*plugin_checks.CHECKS, *plugin_checks.ENTRY_CHECKS}
    checks |= {check for module in modules for check in module.CHECKS}
    assert {check.name for check in checks} == tried
    assert all(check.asserts.endswith(".") and check.fix for check in checks)


def test_distribution_without_metadata_fails(plugin, tmp_path):
    plugin("survey")
    (tmp_path / "site" / "astroclip_mine-0.1.0.dist-info" / "METADATA").unlink()
    get_manager.cache_clear()
    result = result_of("version-is-known")
    assert (result.outcome, result.message) == ("failed", "its distribution has no name")


def test_two_plugins_of_one_name_fail(plugin, install):
    plugin("survey")
    install("another", {"mine": "another_plugin"}, {"another_plugin.py": "x = 1"})
    get_manager.cache_clear()
    result = result_of("is-installed")
    assert result.message == "another and astroclip-mine bring plugins of that name"


def test_file_that_another_survey_claims_fails(plugin):
    plugin("survey", ('"SURVEY") == "greedy"', '"SURVEY") is not None'), name="greedy")
    folder = plugin("survey")
    result = result_of("recognises-its-files", example_of("survey", folder))
    assert result.message == "galaxy-1.fits is claimed by greedy as well"


def test_survey_without_uncertainties_is_told_so(plugin):
    folder = plugin("survey", (f"            {IVAR},\n", ""))
    result = result_of("gives-uncertainties", example_of("survey", folder))
    assert result.outcome == "skipped"
    assert "galaxy-1 has none, which sets NO_UNCERTAINTY" in result.message


def test_checks_that_need_another_are_skipped_when_it_fails(plugin):
    folder = plugin("survey", ("(Survey)", ""))
    results = {r.check: r for r in run_checks("mine", example_of("survey", folder))}
    assert [name for name, r in results.items() if r.outcome == "failed"] == ["is-a-survey"]
    assert results["embeds"].message == "is-a-survey has to pass first"


def test_bad_pixels_with_a_mask_pass(plugin, tmp_path):
    folder = plugin("survey", (FLUX, f'{FLUX}, mask=~(table["ivar"].value > 0)'))
    path = module_of(folder).write_example(tmp_path)
    table = QTable.read(path)
    table["ivar"][:100], table["flux"][:100] = 0, np.nan
    table.write(path, overwrite=True)
    assert failing(run_checks("mine", path)) == []
