"""From galaxies to answers in one step: in order, whatever is given, by any fitted head."""

import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table, vstack
from click.testing import CliRunner
from specutils import Spectrum

import astroclip_astro as aa
from astroclip_astro import prediction
from astroclip_astro.cli.main import main
from astroclip_astro.embeddings import concat
from astroclip_astro.errors import InputError, PluginError, ProvenanceError
from astroclip_astro.plugins import TaskEntry
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import AnomalyHead, NeighborsHead


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


@pytest.fixture(scope="module")
def galaxies(mocks):
    return [int(i) for i in np.flatnonzero(mocks.truth["kind"] == "galaxy")]


@pytest.fixture(scope="module")
def spectra(mocks, galaxies):
    return aa.embed([mocks.spectrum(i) for i in galaxies])


@pytest.fixture(scope="module")
def truth(mocks, galaxies):
    return QTable(mocks.truth[["redshift", "age", "log_mass"]])[galaxies]


@pytest.fixture(scope="module")
def head(mocks, galaxies, spectra, truth):
    images = aa.embed([mocks.cutout(i) for i in galaxies])
    return NeighborsHead(k=1).fit(concat([spectra, images]), vstack([truth, truth]))


def test_images_and_spectra_keep_their_order_and_lost_ones_their_place(mocks, galaxies, head):
    a, b = galaxies[:2]
    whole = mocks.spectrum(b)
    lost = Spectrum(
        flux=whole.flux, spectral_axis=whole.spectral_axis, mask=np.ones(whole.shape, bool)
    )
    given = [mocks.cutout(a), mocks.spectrum(a), lost, mocks.cutout(b)]
    table = aa.predict(given, task=head, samples=5)
    assert table["modality"].tolist() == ["image", "spectrum", "spectrum", "image"]
    assert table["redshift_p50"].mask.tolist() == [False, False, True, False]
    assert "NOT_EMBEDDED" in table["reason"][2]
    z = mocks.truth["redshift"]
    found = table["redshift_p50"][[0, 1, 3]].filled(np.nan)
    # The nearest neighbour of each is itself.
    np.testing.assert_allclose(found, [z[a], z[a], z[b]], atol=2e-3)
    assert table["redshift_samples"].shape == (4, 5)
    assert str(table["age_p50"].unit) == "Gyr"
    assert str(table["log_mass_p50"].unit) == "dex(solMass)"
    alone = aa.predict(mocks.spectrum(a), task=head)
    assert float(alone["redshift_p50"][0]) == pytest.approx(float(found[1]), rel=1e-4)


def test_nothing_to_say_is_an_error(mocks, head):
    whole = mocks.spectrum(1)
    lost = Spectrum(
        flux=whole.flux, spectral_axis=whole.spectral_axis, mask=np.ones(whole.shape, bool)
    )
    with pytest.raises(InputError, match=r"none of the 1 objects has a vector: .*NO_DATA"):
        aa.predict([lost], task=head)


def test_embeddings_made_before_give_the_same(mocks, galaxies, spectra, head):
    one = aa.predict([mocks.spectrum(i) for i in galaxies[:3]], task=head)
    two = aa.predict(spectra[:3], task=head)
    assert one.colnames == two.colnames
    np.testing.assert_allclose(one["redshift_p84"], two["redshift_p84"], rtol=1e-4)
    with pytest.raises(TypeError, match="model is of no use"):
        aa.predict(spectra, task=head, model="astroclip-mini")


def test_a_file_is_a_task_and_another_model_is_refused(spectra, head, tmp_path):
    path = tmp_path / "mine.safetensors"
    head.save(path)
    one, two = aa.predict(spectra[:2], task=head), aa.predict(spectra[:2], task=path)
    assert (one["redshift_p50"] == two["redshift_p50"]).all()
    other = spectra.assign_attrs(weights_sha256="0" * 64)
    with pytest.raises(ProvenanceError, match=r"astroclip-mini.*0000000000000000"):
        aa.predict(other, task=head)


def test_a_plugin_with_fitted_heads_is_asked_by_name(spectra, head, monkeypatch):
    class Manager:
        entry = TaskEntry(name="mine", summary="", factory="mine:head", fitted=True)

        def get(self, kind, name):
            assert (kind, name) == ("task", "mine")
            return self.entry

        def load(self, kind, name):
            return {"spectrum": head}.__getitem__

    monkeypatch.setattr(prediction, "get_manager", Manager)
    one, two = aa.predict(spectra[:2], task=head), aa.predict(spectra[:2], task="mine")
    assert (one["redshift_p50"] == two["redshift_p50"]).all()


def test_what_cannot_be_asked(spectra):
    with pytest.raises(PluginError, match=r"no task named 'floww'.*Did you mean 'flow'"):
        aa.predict(spectra, task="floww")
    with pytest.raises(InputError, match=r"'flow' is a kind of head that has to be fitted first"):
        aa.predict(spectra, task="flow")
    with pytest.raises(InputError, match="samples are of numbers, which a head of kind 'anomaly'"):
        aa.predict(spectra, task=AnomalyHead().fit(spectra), samples=3)


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".parquet", ".vot"])
def test_the_command_prints_or_writes(head, tmp_path, suffix, sdss_file):
    mine = tmp_path / "mine.safetensors"
    head.save(mine)
    files = [str(sdss_file(tmp_path, fibre, empty=fibre == 2)) for fibre in (1, 2)]
    done = CliRunner().invoke(main, ["predict", str(mine), *files])
    assert done.exit_code == 0, done.output
    assert "redshift_p50" in done.output
    assert not re.search(r"\d\.\d{9}", done.output)  # no more digits than anyone reads
    out = tmp_path / f"z{suffix}"
    arguments = ["predict", str(mine), *files, "-o", str(out), "--samples", "3"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "1 of 2 objects" in done.output
    table = Table.read(out)
    assert table["age_p50"].unit == "Gyr"
    if suffix == ".fits":  # which has no logarithmic units
        header = fits.getheader(out, 1)
        said = header[f"TCOMM{table.colnames.index('log_mass_p50') + 1}"]
    else:
        said = f"{table['log_mass_p50'].unit} {table['log_mass_p50'].description}"
    assert "dex(solMass)" in said
    assert table["redshift_samples"].shape == (2, 3)
    good, lost = (float(np.ma.filled(table["redshift_p50"][i], np.nan)) for i in range(2))
    assert np.isfinite(good)
    assert np.isnan(lost)
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "exists" in again.output
    assert "expected one of" in CliRunner().invoke(main, [*arguments[:5], "z.txt"]).output
