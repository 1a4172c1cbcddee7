"""Self-distillation: the teacher is the average, the student learns, nothing collapses."""

import copy

import numpy as np
import pytest
import torch

from astroclip_astro.errors import InputError
from astroclip_astro.models import VisionTransformer
from astroclip_astro.simulate import MockSurvey
from astroclip_astro.training import distillation, image_augment
from astroclip_astro.training.batch import TrainingBatch
from astroclip_astro.training.config import RunConfig
from astroclip_astro.training.data import GalaxyDataModule
from astroclip_astro.training.distillation import ProjectionHead, SelfDistillation
from astroclip_astro.training.sources.mocks import MockSource
from astroclip_astro.training.trainer import fit

SMALL = {
    "prototypes": 24,
    "hidden": 32,
    "bottleneck": 16,
    "global_crop": 72,
    "local_crop": 36,
    "local_crops": 2,
}


@pytest.fixture
def module():
    torch.manual_seed(0)
    model = VisionTransformer(
        embed_dim=32, depth=2, num_heads=2, img_size=72, block_chunks=1, layerscale_init=0.1
    )
    return SelfDistillation(model, max_steps=100, warmup=1, teacher_warmup=10, **SMALL)


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(MockSurvey.bundled().arrays(slice(0, 16))["image"])


def test_the_teacher_is_a_running_average(module):
    before = copy.deepcopy(module.teacher.state_dict())
    with torch.no_grad():
        for p in module.model.parameters():
            p.add_(torch.randn_like(p))
    module.follow(0.9)
    student = {f"model.{k}": v for k, v in module.model.state_dict().items()}
    after = module.teacher.state_dict()
    for name, value in student.items():
        torch.testing.assert_close(after[name], 0.9 * before[name] + 0.1 * value)
    assert not any(p.requires_grad for p in module.teacher.parameters())
    assert not module.train().teacher.training
    assert module.model.training


def test_the_student_learns_without_collapse(module, images):
    trained = [*module.model.parameters(), *module.heads.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        found = module.losses(images)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        module.follow(0.9)
        losses.append(found["dino"].item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.02
    assert all(p.grad is None for p in module.teacher.parameters())
    with torch.no_grad():
        vectors = module.model.training_tokens(images[..., 40:112, 40:112])[:, 0]
    distance = torch.cdist(vectors, vectors) + 1e9 * torch.eye(len(vectors))
    assert distance.min() > 1e-3 * vectors.norm(dim=1).mean()


def test_every_trained_parameter_gets_a_gradient(module, images):
    torch.manual_seed(0)
    module.losses(images)["loss"].backward()
    idle = {n for n, p in module.named_parameters() if p.requires_grad and p.grad is None}
    assert not idle


def test_half_of_the_looks_have_a_block_hidden(module):
    torch.manual_seed(0)
    hidden = module._hidden(400, 36, "cpu").unflatten(1, (6, 6))
    some = hidden.flatten(1).any(1)
    assert 0.4 < some.float().mean() < 0.6
    share = hidden[some].float().mean((1, 2))
    assert share.min() > 0
    assert share.max() <= 0.75
    for one in hidden[some][:50]:
        rows, columns = one.any(1).sum(), one.any(0).sum()
        assert one.sum() == rows * columns


def test_heads_give_cosines():
    torch.manual_seed(0)
    made = ProjectionHead(8, 5, hidden=6, bottleneck=4)(torch.randn(7, 3, 8))
    assert made.shape == (7, 3, 5)
    assert made.abs().max() <= 1 + 1e-6


def test_hidden_patches_become_the_mask_token():
    torch.manual_seed(0)
    model = VisionTransformer(embed_dim=32, depth=1, num_heads=2, img_size=36, block_chunks=1)
    torch.nn.init.normal_(model.mask_token)
    image = torch.rand(1, 3, 36, 36)
    other = image.clone()
    other[..., :12, :12] = torch.rand(3, 12, 12)
    hidden = torch.zeros(1, 9, dtype=torch.bool)
    hidden[0, 0] = True
    torch.testing.assert_close(
        model.training_tokens(image, hidden), model.training_tokens(other, hidden)
    )
    assert not torch.allclose(model.training_tokens(image), model.training_tokens(other))
    torch.testing.assert_close(model.training_tokens(image)[:, 0], model.class_token(image))


def test_positions_are_interpolated_for_other_sizes():
    torch.manual_seed(0)
    model = VisionTransformer(embed_dim=32, depth=1, num_heads=2, img_size=72, block_chunks=1)
    assert model.training_tokens(torch.rand(2, 3, 36, 48)).shape == (2, 13, 32)
    with torch.no_grad():
        model.pos_embed[:, 1:] = 0.5  # constant: interpolation must not change it
        small = model.training_tokens(torch.zeros(1, 3, 36, 36))[:, 1:]
    torch.testing.assert_close(small, small[:, :1].expand_as(small))


def test_batches_it_cannot_use(module):
    spectra = TrainingBatch(
        object_id=np.array(["a"]), spectrum=torch.zeros(1, 9, 1), spectrum_ivar=torch.ones(1, 9)
    )
    with pytest.raises(InputError, match="no images"):
        module.training_step(spectra, 0)
    one = TrainingBatch(object_id=np.array(["lonely"]), image=torch.zeros(1, 3, 152, 152))
    with pytest.raises(InputError, match="lonely"):
        module.training_step(one, 0)


def test_a_lone_image_is_left_out_of_validation(module, tmp_path, caplog):
    source = MockSource(MockSurvey.bundled()).only({"image"})
    data = GalaxyDataModule([source], batch_size=6, test=0, validation=0.2)
    data.batch_size = len(data.rows["validation"]) - 1
    run = RunConfig(max_steps=1, validate_every=1, accelerator="cpu")
    trainer = fit(module, data, run, tmp_path, progress=False)
    assert trainer.callback_metrics["val/loss"].isfinite()
    assert source.object_id[data.rows["validation"][-1]] in caplog.text


def test_images_without_weight_are_left_out_or_refused(module, images, caplog):
    names = np.array(["first", "masked", "last"])
    batch = TrainingBatch(object_id=names, image=images[:3], image_ivar=torch.ones_like(images[:3]))
    batch.image_ivar[1] = 0
    module.log = lambda *args, **options: None
    found = []
    for one in (batch, batch[[0, 2]]):
        torch.manual_seed(4)
        found.append(module.training_step(one, 0))
    assert "masked" in caplog.text
    torch.testing.assert_close(found[0], found[1])
    batch.image_ivar[:] = 0
    with pytest.raises(InputError, match="first, masked, last"):
        module.training_step(batch, 0)


def test_patches_without_weight_are_not_predicted(module, images, monkeypatch):
    ivar = torch.ones_like(images)
    # Two of six rows of patches in the 72 pixels that are looked at, and some single pixels.
    ivar[..., 40:64, :] = 0
    ivar[..., 70, ::3] = 0
    monkeypatch.setattr(image_augment, "_JITTER", 0)
    monkeypatch.setattr(module, "_hidden", lambda n, t, device: torch.ones(n, t, dtype=torch.bool))
    lengths = []
    share = distillation.sinkhorn_knopp

    def spy(logits, temperature):
        lengths.append(len(logits))
        return share(logits, temperature)

    monkeypatch.setattr(distillation, "sinkhorn_knopp", spy)
    assert module.losses(images, ivar)["ibot"] > 0
    assert lengths == [16, 16, 2 * 16 * 24]
    assert module.losses(images, torch.zeros_like(ivar))["ibot"] == 0
