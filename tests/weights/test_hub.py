"""Published weights from a hub that answers rightly, wrongly, or not at all."""

from dataclasses import replace

import pytest
import torch

from astroclip_astro.errors import OfflineError, WeightsError
from astroclip_astro.plugins import ModelEntry
from astroclip_astro.weights.registry import published

from .conftest import COMMIT, Hub

ENTRY = ModelEntry(
    name="toy-published",
    summary="a toy on the hub",
    factory="astroclip_astro.weights.registry:published",
    modalities=("spectrum",),
    embed_dim=8,
    parameters=1,
    options={"repo": "me/model"},
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A Lightning checkpoint of a small SpecFormer, as bytes."""
    from astroclip_astro.models import SpecFormer

    with torch.random.fork_rng():
        model = SpecFormer(embed_dim=8, num_layers=1, num_heads=2)
    path = tmp_path_factory.mktemp("hub") / "model.ckpt"
    hyper = {"num_heads": 2, "slice_section_length": 20, "slice_overlap": 10}
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": hyper}, path)
    return path.read_bytes()


def test_weights_are_fetched_verified_and_converted_once(serve, checkpoint):
    hub = Hub(checkpoint)
    serve(hub)
    model = published(ENTRY)
    assert model.weights_sha256 == hub.sha256
    assert model.config["num_heads"] == 2
    assert hub.requests
    hub.requests.clear()
    again = published(ENTRY)
    assert not hub.requests
    assert again.weights_sha256 == hub.sha256
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_revision_is_asked_for_and_kept_apart(serve, checkpoint):
    hub = Hub(checkpoint)
    serve(hub)
    published(ENTRY, revision="v1.0")
    assert any("v1.0" in path for _, path in hub.requests)
    hub.requests.clear()
    published(ENTRY, revision=COMMIT)
    published(ENTRY, revision="v1.0")
    assert not hub.requests
    published(ENTRY)
    assert hub.requests


def test_a_model_whose_name_begins_alike_is_another(serve, checkpoint):
    hub = Hub(checkpoint)
    serve(hub)
    published(replace(ENTRY, name="toy-published-large"))
    hub.requests.clear()
    published(ENTRY)
    assert hub.requests


def test_a_damaged_conversion_is_made_again(serve, checkpoint, tmp_path):
    serve(Hub(checkpoint))
    published(ENTRY)
    (converted,) = (tmp_path / "cache").glob("*.safetensors")
    data = bytearray(converted.read_bytes())
    data[-1] ^= 1
    converted.write_bytes(data)
    published(ENTRY)
    assert converted.read_bytes() != bytes(data)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("wrong hash", "the hub states"),
        ("not found", "HTTP 404"),
        ("gated", "needs a login"),
        ("two files", "holds 2 checkpoints"),
    ],
)
def test_faults_of_the_hub_are_named(serve, checkpoint, tmp_path, fault, words):
    serve(Hub(checkpoint, fault))
    with pytest.raises(WeightsError, match=words):
        published(ENTRY)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_cut_download_leaves_nothing_behind(serve, checkpoint, tmp_path):
    hub = Hub(checkpoint, "truncated")
    serve(hub)
    with pytest.raises(WeightsError):
        published(ENTRY)
    assert not list((tmp_path / "cache").glob("*.safetensors"))
    hub.fault = None
    assert published(ENTRY).weights_sha256 == hub.sha256


def test_offline_says_what_to_do_and_the_cache_still_works(serve, checkpoint):
    server = serve(Hub(checkpoint))
    published(ENTRY)
    server.shutdown()
    server.server_close()
    assert published(ENTRY).config["num_heads"] == 2
    with pytest.raises(OfflineError, match=r"'astroclip-mini'.*Cached revisions: default"):
        published(ENTRY, revision="v2")
