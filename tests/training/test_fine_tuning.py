"""Fine-tuning on the bundled mocks: what is trained, what stays, and that the result loads."""

import numpy as np
import pytest
import torch
from astropy.table import QTable

import astroclip_astro as aa
from astroclip_astro.errors import InputError, ProvenanceError
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training.fine_tuning import fine_tune


@pytest.fixture(scope="module")
def labelled():
    mocks = MockSurvey.bundled()
    rows = np.flatnonzero(mocks.truth["kind"] == "galaxy")[:24]
    return [mocks.cutout(i) for i in rows], QTable(mocks.truth[["log_mass"]])[rows]


def changed(before, after):
    return {
        name
        for name, tensor in before.state_dict().items()
        if not torch.equal(tensor, after.state_dict()[name])
    }


def test_the_last_block_and_the_pooling_are_trained_and_nothing_else(labelled, tmp_path):
    images, mass = labelled
    base = aa.load_model()
    old = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    out = tmp_path / "mine.safetensors"
    model, head = fine_tune(images, mass, out, model=base, epochs=2, progress=False)
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, old[name]), name
    assert model.name == "mine"
    allowed = ("image_encoder.backbone.blocks.0.4.", "image_encoder.cross", "image_encoder.mlp")
    moved = changed(base, model)
    assert moved
    assert all(name.startswith(allowed) for name in moved)
    assert any(".blocks.0.4." in name for name in moved)
    table = head.predict(aa.embed(images[:2], model=out))
    assert str(table["log_mass_p50"].unit) == "dex(solMass)"
    with pytest.raises(ProvenanceError, match=r"'mine'.*'astroclip-mini'"):
        head.predict(aa.embed(images[:2]))


def test_low_rank_additions_become_part_of_the_weights(labelled, tmp_path):
    images, mass = labelled
    base = aa.load_model()
    out = tmp_path / "thin.safetensors"
    model, _ = fine_tune(images, mass, out, model=base, rank=2, epochs=1, progress=False)
    assert model.state_dict().keys() == base.state_dict().keys()
    name = "image_encoder.backbone.blocks.0.0.attn.qkv.weight"
    difference = model.state_dict()[name] - base.state_dict()[name]
    assert 1 <= torch.linalg.matrix_rank(difference.double(), rtol=1e-4) <= 2
    other = "image_encoder.backbone.patch_embed.proj.weight"
    assert torch.equal(model.state_dict()[other], base.state_dict()[other])


def test_the_same_seed_gives_the_same_model(labelled, tmp_path):
    images, mass = labelled
    one, two = (
        fine_tune(images, mass, tmp_path / f"{i}.safetensors", epochs=1, progress=False)[0]
        for i in range(2)
    )
    assert not changed(one, two)


def test_what_cannot_be_learned_from(labelled, tmp_path):
    images, mass = labelled
    out = tmp_path / "none.safetensors"
    with pytest.raises(InputError, match="3 objects to learn from: expected at least 20"):
        fine_tune(images[:3], mass[:3], out)
    with pytest.raises(InputError, match="obj has 24 objects and y 23"):
        fine_tune(images, mass[:23], out)
    with pytest.raises(InputError, match="expected one modality"):
        fine_tune([*images, MockSurvey.bundled().spectrum(0)], mass, out)
    with pytest.raises(ValueError, match="blocks is 9, expected 1 to 5"):
        fine_tune(images, mass, out, blocks=9)
    lost = QTable(mass)
    lost["log_mass"][4] = np.nan
    with pytest.raises(InputError, match="its log_mass is masked, NaN or infinite"):
        fine_tune(images, lost, out)
    assert not out.exists()
