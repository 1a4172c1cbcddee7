"""The heads that come with the package: fitted to the bundled model's embeddings of mocks.

``python -m astroclip_astro.training.mini.heads`` makes them.
"""

import copy
from functools import lru_cache, partial
from importlib import resources

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.base import load_head

__all__ = ["morphology", "properties", "redshift"]


def _bundled(task, modality):
    # A copy, as heads can be calibrated anew.
    return copy.deepcopy(_loaded(task, modality))


@lru_cache
def _loaded(task, modality):
    path = resources.files("astroclip_astro.tasks") / "data" / f"{task}-{modality}.safetensors"
    if not path.is_file():
        raise InputError(f"there is no bundled head for {task} from a {modality}")
    return load_head(path)


#: For a modality, "spectrum" or "image", the fitted head.
morphology, properties, redshift = (
    partial(_bundled, task) for task in ("morphology", "properties", "redshift")
)
