"""The published architecture with weights from a seed, what it costs, and mocks for it."""

import json
from importlib import resources
from itertools import cycle, islice

import torch

from astroclip_astro.adapters.modality import get_modality
from astroclip_astro.models import AstroCLIP
from astroclip_astro.simulate import MockSurvey

# Per object: tokens, width, blocks.
SHAPES = {"spectrum": (778, 768, 6), "image": (144, 1024, 24)}

# A network of the same make that shows in seconds that a script runs, and measures nothing.
SMALL = {"spectrum": (778, 48, 1), "image": (144, 64, 1)}


def operations(modality, shapes=SHAPES, pooled=1024):
    """Floating-point operations of one object in the published network, multiply and add."""
    tokens, width, blocks = shapes[modality]
    products = 12 * tokens * width**2 + 2 * tokens**2 * width
    head = 2 * tokens * width * pooled + 10 * pooled**2
    first = tokens * width * (22 if modality == "spectrum" else 3 * 12**2)
    return 2 * (blocks * products + head + first)


def make_model(shapes=SHAPES):
    """AstroCLIP from a seed, its LayerScale so large that its blocks take part."""
    file = resources.files("astroclip_astro.models") / "configs" / "astroclip.json"
    config = json.loads(file.read_text())["config"]
    for modality, depth in (("spectrum", "num_layers"), ("image", "depth")):
        _, config[modality]["embed_dim"], config[modality][depth] = shapes[modality]
    config["image"]["layerscale_init"] = 1.0
    torch.manual_seed(0)
    return AstroCLIP(**config).eval().requires_grad_(False)


def objects(modality, count):
    """Bundled mocks as objects in memory, from the first one again after the last (list)."""
    mocks = MockSurvey.bundled()
    get = mocks.spectrum if modality == "spectrum" else mocks.cutout
    return list(islice(cycle([get(i) for i in range(min(count, len(mocks.truth)))]), count))


def inputs(modality, galaxies, preprocessing):
    """A batch of objects, as `GalaxyModel.encode` takes it."""
    kind = get_modality(modality)
    found = [r for one in galaxies for r in kind.records(one, preprocessing=preprocessing)]
    return kind.batch(found, preprocessing).flux
