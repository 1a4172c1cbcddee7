"""What the heads of the bundled model learn from: mocks observed as in training."""

import numpy as np

import astroclip_astro as aa
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.mini.heads import observed_embeddings, rows_for_heads, votes_of
from astroclip_astro.training.split import held_out


def test_observed_embeddings_are_those_of_the_model_and_repeat():
    survey, model = MockSurvey.bundled(), aa.load_model()
    rows = np.array([2, 5, 7])
    for modality, clean in (("spectrum", survey.spectrum(5)), ("image", survey.cutout(5))):
        one, two = (
            observed_embeddings(model, survey, rows, modality, seed=3, progress=False)
            for _ in range(2)
        )
        np.testing.assert_array_equal(one, two)
        other = observed_embeddings(model, survey, rows, modality, seed=4, progress=False)
        assert not np.array_equal(one, other)
        assert one.object_id.values.tolist() == survey.truth["object_id"][rows].tolist()
        # Another instrument's look at the same galaxy is more like it than other galaxies are.
        similarity = aa.embed([clean], model=model).astroclip.similarity(one).values[0]
        assert similarity.argmax() == 1


def test_what_heads_are_tested_with_was_never_learned_from():
    survey = MockSurvey.bundled()
    learned, test = rows_for_heads(survey)
    assert not set(learned) & set(test)
    assert held_out(len(survey))[test].all()
    assert (survey.truth["kind"][np.union1d(learned, test)] == "galaxy").all()
    np.testing.assert_array_equal(rows_for_heads(survey, 2)[0], learned[:2])


def test_one_vote_for_what_is_asked_and_none_for_what_is_not():
    survey = MockSurvey.bundled()
    questions, votes = votes_of(survey.truth_array)
    assert next(iter(questions)) == "smooth"
    assert questions["arm-count"]["asked_if"] == ["spiral", "yes"]
    cast = {
        name: np.sum([votes[f"{name}_{answer}"] for answer in answers_of(one)], axis=0)
        for name, one in questions.items()
    }
    galaxy = survey.truth["kind"] == "galaxy"
    np.testing.assert_array_equal(cast["smooth"], galaxy)
    np.testing.assert_array_equal(cast["edge-on"], votes["smooth_disc"])
    np.testing.assert_array_equal(cast["arm-count"], votes["spiral_yes"])


def answers_of(question):
    return question["answers"] if isinstance(question, dict) else question
