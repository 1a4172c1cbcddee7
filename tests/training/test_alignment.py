"""Alignment: its loss by brute force, what it freezes, and several processes as one."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from astroclip_astro.errors import InputError
from astroclip_astro.models import clip_loss
from astroclip_astro.training.alignment import Alignment
from astroclip_astro.training.batch import TrainingBatch
from astroclip_astro.training.contrastive import contrastive_loss, gather, recall

LENGTH = 7781


def pairs(n=5, seed=0):
    torch.manual_seed(seed)
    return TrainingBatch(
        object_id=np.array([f"galaxy-{i}" for i in range(n)]),
        spectrum=torch.randn(n, LENGTH, 1).cumsum(1) / 20,
        spectrum_ivar=torch.ones(n, LENGTH),
        image=torch.rand(n, 3, 152, 152),
        image_ivar=torch.ones(n, 3, 152, 152),
    )


def alignment(make_toy, **options):
    return Alignment(make_toy(), **{"max_steps": 10, "learning_rate": 1e-3} | options)


def vectors(module, batch):
    model = module.model
    image = batch.image[..., 4:148, 4:148]
    from astroclip_astro.adapters.image import to_rgb

    image = to_rgb(image, model.preprocessing["image"])
    return model.image_encoder(image), model.spectrum_encoder(batch.spectrum)


def test_loss_is_the_papers(make_toy):
    module = alignment(make_toy).eval()
    batch = pairs()
    image, spectrum = vectors(module, batch)
    similarity = 15.5 * F.normalize(image, dim=1) @ F.normalize(spectrum, dim=1).T
    wanted = sum(
        -math.log(math.exp(s[i, i]) / sum(math.exp(s[i, j]) for j in range(5)))
        for s in (similarity.tolist(), similarity.T.tolist())
        for s in [np.array(s)]
        for i in range(5)
    ) / (2 * 5)
    assert module.losses(batch)["loss"].item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_encoders_stay_and_the_rest_moves(make_toy, micro_batch, frozen):
    module = alignment(
        make_toy,
        train_spectrum_backbone=not frozen,
        train_image_backbone=not frozen,
        micro_batch=micro_batch,
    )
    before = {n: p.clone() for n, p in module.model.named_parameters()}
    optimizer = module.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    module.losses(pairs())["loss"].backward()
    optimizer.step()
    moved = {n for n, p in module.model.named_parameters() if not torch.equal(p, before[n])}
    backbones = {n for n in moved if ".backbone." in n}
    assert bool(backbones) != frozen
    assert {n for n in before if ".backbone." not in n} <= moved


def test_gradient_does_not_depend_on_micro_batches(make_toy):
    found = []
    for micro_batch in (None, 2):
        module = alignment(make_toy, train_image_backbone=True, micro_batch=micro_batch).eval()
        module.losses(pairs())["loss"].backward()
        found.append({n: p.grad for n, p in module.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_the_multiplier_is_learned_bounded_and_handed_over(make_toy):
    module = alignment(make_toy, learn_logit_scale=True, logit_scale=100.0)
    module.losses(pairs())["loss"].backward()
    assert module.log_scale.grad is not None
    with torch.no_grad():
        module.log_scale += 1
    module.log = lambda *a, **k: None
    module.training_step(pairs(), 0)
    assert module.logit_scale.item() == pytest.approx(100)
    with torch.no_grad():
        module.log_scale.fill_(math.log(20.1234))
    module.on_fit_end()
    assert module.model.config["logit_scale"] == module.model.logit_scale == 20.123


def test_second_observations_are_pulled_to_the_first(make_toy):
    module = alignment(make_toy, repeat_weight=0.5).eval()
    batch = pairs()
    batch.repeat = pairs(seed=9)[[3, 1]]
    found = module.losses(batch)
    _, spectrum = vectors(module, batch)
    again = module.model.spectrum_encoder(batch.repeat.spectrum)
    wanted, _ = clip_loss(spectrum[[3, 1]], again)
    torch.testing.assert_close(found["repeat_loss"], wanted)
    plain = alignment(make_toy).eval().losses(pairs())["loss"]
    torch.testing.assert_close(found["loss"], plain + 0.5 * wanted)
    batch.repeat = pairs(7, seed=9)[[6]]
    with pytest.raises(InputError, match="galaxy-6"):
        module.losses(batch)


def test_duplicates_are_no_negatives():
    torch.manual_seed(0)
    image, spectrum = torch.randn(2, 4, 8)
    image[3], spectrum[3] = image[0], spectrum[0]
    identity = torch.tensor([1, 2, 3, 1])
    s = 15.5 * F.normalize(image, dim=1) @ F.normalize(spectrum, dim=1).T
    wanted = 0
    for logits in (s, s.T):
        for i in range(4):
            others = [j for j in range(4) if j == i or identity[j] != identity[i]]
            wanted += torch.logsumexp(logits[i, others], 0) - logits[i, i]
    made = contrastive_loss(image, spectrum, identity, 15.5)
    torch.testing.assert_close(made, wanted / 8)
    alone = contrastive_loss(image, spectrum, torch.arange(4), 15.5)
    torch.testing.assert_close(alone, clip_loss(image, spectrum)[0])


def test_recall_by_brute_force():
    torch.manual_seed(0)
    query = torch.randn(60, 6)
    answer = query + 1.5 * torch.randn(60, 6)
    similarity = (F.normalize(query, dim=1) @ F.normalize(answer, dim=1).T).numpy()
    for k in (1, 5, 60):
        wanted = np.mean([i in np.argsort(-row)[:k] for i, row in enumerate(similarity)])
        assert recall(query, answer, torch.arange(60), k) == pytest.approx(wanted)
    assert recall(torch.full((4, 3), torch.nan), torch.ones(4, 3), torch.arange(4), 4) == 0


def test_what_has_only_one_modality_is_left_out_or_refused(make_toy, caplog):
    module = alignment(make_toy).eval()
    batch = pairs()
    batch.spectrum_ivar[2] = 0
    batch.image_ivar[4] = 0
    found = module.losses(batch)["loss"]
    assert "galaxy-2, galaxy-4" in caplog.text
    torch.testing.assert_close(found, module.losses(pairs()[[0, 1, 3]])["loss"])
    batch.spectrum_ivar[:] = 0
    with pytest.raises(InputError, match="no object of this batch has both"):
        module.losses(batch)
    batch.image = None
    with pytest.raises(InputError, match="the batch has no image"):
        module.losses(batch)


def test_gathering_in_one_process_changes_nothing():
    x = torch.randn(3, 2)
    assert gather(x) is x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logit_scale": 0}, "logit_scale is 0"),
        ({"logit_scale": 200}, "at most 100"),
        ({"micro_batch": 0}, "micro_batch is 0"),
        ({"repeat_weight": -1}, "repeat_weight is -1"),
    ],
)
def test_options_out_of_range(make_toy, options, message):
    with pytest.raises(ValueError, match=message):
        alignment(make_toy, **options)


PROCESSES = """
import sys
import numpy as np
import torch
from astroclip_astro.adapters.image import ImagePreprocessing
from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
from astroclip_astro.models import AstroCLIP
from astroclip_astro.training.alignment import Alignment
from astroclip_astro.training.config import RunConfig
from astroclip_astro.training.data import GalaxyDataModule
from astroclip_astro.training.sources.base import Source
from astroclip_astro.training.trainer import fit

class Made(Source):
    name = "made"

    def __init__(self):
        super().__init__()
        self._offer(("image", "spectrum"))
        self.object_id = np.array([f"galaxy-{i}" for i in range(24)])
        self.ra = self.dec = np.full(24, np.nan)
        self.targets = {}
        chance = torch.Generator().manual_seed(0)
        self.flux = torch.randn(24, 7781, generator=chance).cumsum(1) / 20
        self.image = torch.rand(24, 3, 152, 152, generator=chance)

    def read(self, rows, generator):
        return self._batch(rows, spectrum=self.flux[rows].unsqueeze(-1),
                           spectrum_ivar=torch.ones(len(rows), 7781), image=self.image[rows])

if __name__ == "__main__":
    out, devices, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.manual_seed(0)
    model = AstroCLIP(
        spectrum=dict(input_dim=402, slice_section_length=400, slice_overlap=0, embed_dim=32,
                      num_layers=1, num_heads=2, dropout=0.0),
        image=dict(embed_dim=32, depth=1, num_heads=2, block_chunks=1),
        embed_dim=16, spectrum_heads=2, image_heads=2, dropout=0.0)
    module = Alignment(model, max_steps=4, learning_rate=1e-2, learn_logit_scale=True,
                       train_image_backbone=True, micro_batch=2)
    data = GalaxyDataModule([Made()], batch_size=batch_size, test=0, validation=0.2)
    run = RunConfig(max_steps=4, devices=devices, accelerator="cpu", validate_every=2,
                    strategy="ddp" if devices != "1" else "auto")
    trainer = fit(module, data, run, out, progress=False)
    if trainer.is_global_zero:
        losses = trainer.callback_metrics
        torch.save({"weights": {k: v for k, v in model.state_dict().items()},
                    "pool": losses["val/pool"], "loss": losses["train/loss"]}, out + "/end.pt")
"""


def test_two_processes_are_one_of_twice_the_batch(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(PROCESSES)
    ends = []
    for devices, batch_size in (("1", 8), ("2", 4)):
        out = tmp_path / devices
        done = subprocess.run(
            [sys.executable, str(script), str(out), devices, str(batch_size)],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        ends.append(torch.load(out / "end.pt", weights_only=True))
    one, two = ends
    assert two["loss"].item() == pytest.approx(one["loss"].item(), abs=1e-4)
    for name, value in one["weights"].items():
        # Biases of keys change nothing, so that their gradient, and Adam's step, is rounding only.
        if not name.endswith(("in_proj_bias", "qkv.bias")):
            torch.testing.assert_close(two["weights"][name], value, rtol=1e-3, atol=1e-3, msg=name)
    assert one["pool"] <= two["pool"] <= one["pool"] + 1
