"""How a model shows itself, and what it makes no vector of."""

from xml.etree import ElementTree as ET

import pytest
import torch


def test_html_says_what_it_is_and_no_name_breaks_it(make_toy):
    model = make_toy()
    model.name = "<script>alert(1)</script>"
    tree = ET.fromstring(f"<div>{model._repr_html_()}</div>")
    assert tree.findtext(".//caption") == "AstroCLIP '<script>alert(1)</script>'"
    rows = [[cell.text for cell in row] for row in tree.iter("tr")]
    assert ["modalities", "spectrum, image"] in rows
    assert ["vectors", "16 numbers"] in rows
    assert ["SHA-256 of the weights", "not saved"] in rows
    assert ["parameters", f"{sum(p.numel() for p in model.parameters()):,}"] in rows
    settings = {(m, s): v for m, s, v in (row for row in rows if len(row) == 3)}
    settings.pop(("modality", "setting"))
    expected = model.preprocessing_dict()
    assert settings == {(m, s): str(v) for m, one in expected.items() for s, v in one.items()}
    assert list(tree.iter("script")) == []


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e15])
@pytest.mark.parametrize("modality", ["spectrum", "image"])
def test_flux_that_no_network_can_take_gives_no_vector(modality, bad, make_toy):
    model = make_toy()
    flux = torch.rand(3, 7781, 1) if modality == "spectrum" else torch.rand(3, 3, 152, 152)
    expected = model.encode(flux, modality)
    flux[1].view(-1)[-1] = bad
    found = model.encode(flux, modality)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]])
