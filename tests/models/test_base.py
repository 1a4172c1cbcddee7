"""How a model shows itself."""

from xml.etree import ElementTree as ET


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
