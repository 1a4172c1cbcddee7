"""The heads that come with the package: for the bundled model, and right about its mocks."""

import numpy as np
import pytest
from click.testing import CliRunner

import astroclip_astro as aa
from astroclip_astro.cli.main import main
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.tasks import FlowHead, MLPHead, VotesHead, bundled
from astroclip_astro.tasks.questions import vote_columns
from astroclip_astro.training.mini.heads import PROPERTIES, votes_of

KINDS = {"redshift": MLPHead, "properties": FlowHead, "morphology": VotesHead}


@pytest.fixture(scope="module")
def mocks():
    return MockSurvey.bundled()


@pytest.fixture(scope="module")
def galaxies(mocks):
    """Of the bundled mocks, which neither the model nor the heads have learned from."""
    return [int(i) for i in np.flatnonzero(mocks.truth["kind"] == "galaxy")]


@pytest.fixture(scope="module")
def embeddings(mocks, galaxies):
    return {
        "spectrum": aa.embed([mocks.spectrum(i) for i in galaxies]),
        "image": aa.embed([mocks.cutout(i) for i in galaxies]),
    }


@pytest.mark.parametrize("modality", ["spectrum", "image"])
@pytest.mark.parametrize("task", KINDS)
def test_heads_are_of_the_bundled_model(task, modality, embeddings):
    head = getattr(bundled, task)(modality)
    assert isinstance(head, KINDS[task])
    assert head.modalities_ == [modality]
    assert head.provenance_ == embeddings[modality].astroclip.provenance
    other = embeddings[modality].assign_attrs(weights_sha256="0" * 64)
    with pytest.raises(ProvenanceError, match="0000000000000000"):
        aa.predict(other, task=task)


@pytest.mark.parametrize(("modality", "least"), [("spectrum", 0.95), ("image", 0.75)])
def test_redshifts_and_their_intervals(modality, least, embeddings, mocks, galaxies):
    z = np.asarray(mocks.truth["redshift"])[galaxies]
    for task in ("redshift", "properties"):
        table = aa.predict(embeddings[modality], task=task)
        low, middle, high = (np.asarray(table[f"redshift_p{p}"]) for p in (16, 50, 84))
        assert 1 - np.var(middle - z) / np.var(z) > least
        # Of 40 objects, binomially, 68 % are 27 ± 3.
        assert 0.45 < np.mean((z >= low) & (z <= high)) < 0.9


@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_properties_have_units_and_hang_together(modality, embeddings, mocks, galaxies):
    table = aa.predict(embeddings[modality], task="properties", samples=200)
    for name in PROPERTIES:
        truth = mocks.truth[name][galaxies]
        found = table[f"{name}_p50"]
        assert str(found.unit or "") == str(truth.unit or "")
        assert np.corrcoef(np.asarray(truth), np.asarray(found.value))[0, 1] > 0.5
    # The older, the less of its mass is formed now: sampled jointly.
    age, ssfr = (np.asarray(table[f"{name}_samples"]) for name in ("age", "log_ssfr"))
    apart = [np.corrcoef(a, b)[0, 1] for a, b in zip(age, ssfr, strict=True)]
    assert np.median(apart) < -0.2


def test_looks_are_told_from_images_better_than_by_chance(embeddings, mocks, galaxies):
    head = bundled.morphology("image")
    _, votes = votes_of(mocks.truth_array[galaxies])
    for name in vote_columns(head.questions_):
        if name not in votes.colnames:  # what none of so few is
            votes[name] = 0
    table = aa.predict(embeddings["image"], task="morphology")
    smooth = np.asarray(votes["smooth_smooth"]) > 0
    assert smooth.any()
    said = np.asarray(table["smooth_smooth_fraction"])
    assert said[smooth].mean() > said[~smooth].mean() + 0.2
    assert head.score(embeddings["image"], votes) > 0.6
    # Mocks have one label each, which says nothing of how far volunteers disagree.
    assert not [name for name in table.colnames if name.endswith("_error")]


def test_one_command(tmp_path, sdss_file):
    path = sdss_file(tmp_path, 1)
    done = CliRunner().invoke(main, ["predict", "redshift", str(path)])
    assert done.exit_code == 0, done.output
    assert "redshift_p50" in done.output


def test_there_is_no_head_for_another_modality():
    with pytest.raises(InputError, match="no bundled head for redshift from a radio-map"):
        bundled.redshift("radio-map")


def test_calibrating_one_leaves_the_others_alone(embeddings, mocks, galaxies):
    head, z = bundled.redshift("spectrum"), mocks.truth[["redshift"]][galaxies]
    before = aa.predict(embeddings["spectrum"], task="redshift")["redshift_p84"]
    head.calibrate(embeddings["spectrum"], z)
    assert not (aa.predict(embeddings["spectrum"], task=head)["redshift_p84"] == before).all()
    assert (aa.predict(embeddings["spectrum"], task="redshift")["redshift_p84"] == before).all()
