"""Images on their way to a model: golden parity with the published preprocessing."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from astroclip_astro.adapters.image import (
    ImagePreprocessing,
    encoder_input,
    image_batch,
    to_rgb,
)
from astroclip_astro.adapters.records import FailedRecord, ImageRecord
from astroclip_astro.quality import Quality

PREPROCESSING = ImagePreprocessing()


class TestImagePreprocessing:
    def test_survives_json(self):
        changed = ImagePreprocessing(bands=("r", "z"), rgb_scales=(3.0, 2.0), size=96, crop=96)
        stored = json.loads(json.dumps(dataclasses.asdict(changed)))
        assert ImagePreprocessing(**stored) == changed

    @pytest.mark.parametrize("wrong", [{"bands": ("g", "r")}, {"crop": 153}, {"crop": 0}])
    def test_refuses_contradictions(self, wrong):
        with pytest.raises(ValueError, match=r"one scale each|does not fit"):
            ImagePreprocessing(**wrong)


@pytest.fixture(scope="module")
def golden(shared_dir):
    with np.load(shared_dir / "golden" / "image_golden.npz") as arrays:
        return dict(arrays)


class TestRGB:
    def test_golden_rgb(self, golden):
        flux = torch.from_numpy(golden["images"]).movedim(-1, 1)
        rgb = to_rgb(flux, PREPROCESSING).movedim(1, -1)
        torch.testing.assert_close(rgb, torch.from_numpy(golden["to_rgb"]), atol=1e-6, rtol=0)

    @pytest.mark.parametrize(
        ("images", "collated"),
        [("images", "collated"), ("images_nonsquare", "images_nonsquare_collated")],
    )
    def test_golden_encoder_input(self, golden, images, collated):
        # The published data set stores (column, row, band); the survey's files are (band, row,
        # column), and so is what the network sees.
        flux = torch.from_numpy(golden[images]).permute(0, 3, 2, 1)
        rgb = encoder_input(flux, PREPROCESSING)
        torch.testing.assert_close(rgb, torch.from_numpy(golden[collated]), atol=1e-6, rtol=0)

    def test_no_intensity_is_black(self):
        # The intensity is 0 where every band is at or below -offset / scale.
        flux = torch.full((1, 3, 4, 4), -1.0)
        assert torch.equal(to_rgb(flux, PREPROCESSING), torch.zeros(1, 3, 4, 4))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -3e38])
    def test_never_nan(self, bad):
        flux = torch.full((1, 3, 1, 2), 0.1)
        flux[0, 1, 0, 1] = bad
        rgb = to_rgb(flux, PREPROCESSING)
        assert torch.isfinite(rgb).all()
        assert rgb.min() >= 0
        assert rgb.max() <= 1
        clean = to_rgb(torch.full((1, 3, 1, 2), 0.1), PREPROCESSING)
        assert torch.equal(rgb[..., 0], clean[..., 0])

    def test_gradient_is_finite_where_black(self):
        flux = torch.tensor([-1.0, 0.0, 0.5]).expand(3, 1, 3).clone().requires_grad_()
        to_rgb(flux, PREPROCESSING).sum().backward()
        assert torch.isfinite(flux.grad).all()
        assert (flux.grad[..., 0] == 0).all()

    def test_keeps_dtype(self):
        assert (
            to_rgb(torch.zeros(3, 2, 2, dtype=torch.float64), PREPROCESSING).dtype is torch.float64
        )

    def test_refuses_another_number_of_bands(self):
        with pytest.raises(ValueError, match="bands"):
            to_rgb(torch.zeros(1, 4, 8, 8), PREPROCESSING)

    def test_refuses_less_than_the_crop(self):
        with pytest.raises(ValueError, match="at least 144"):
            encoder_input(torch.zeros(1, 3, 152, 143), PREPROCESSING)


class TestBatch:
    def record(self, value, **kwargs):
        flux = np.full((3, 152, 152), value, np.float32)
        return ImageRecord(flux=flux, coverage=0.9, **kwargs)

    def test_keeps_the_order_and_the_failed(self):
        records = [
            self.record(1, object_id="a", ra=10.0, snr=5.0),
            FailedRecord(object_id="b", reason="no z band", quality=Quality.MISSING_BAND),
            self.record(3, object_id="c", quality=Quality.SATURATED, survey="legacysurvey"),
        ]
        batch = image_batch(records, PREPROCESSING)
        assert len(batch) == 3
        assert batch.flux.dtype is torch.float32
        assert batch.flux[:, 0, 0, 0].tolist() == [1, 0, 3]
        assert batch.object_id.tolist() == ["a", "b", "c"]
        assert batch.survey.tolist() == ["", "", "legacysurvey"]
        np.testing.assert_array_equal(batch.coverage, [0.9, 0, 0.9])
        np.testing.assert_array_equal(batch.snr, [5, np.nan, np.nan])
        assert batch.quality.tolist() == [
            0,
            Quality.MISSING_BAND | Quality.NOT_EMBEDDED,
            Quality.SATURATED,
        ]

    @pytest.mark.parametrize(
        "flux", [np.zeros((3, 144, 144)), np.full((3, 152, 152), np.nan)], ids=["shape", "nan"]
    )
    def test_refuses_what_is_not_on_the_grid(self, flux):
        with pytest.raises(ValueError, match=r"bad one.*expected finite"):
            image_batch([ImageRecord(object_id="bad one", flux=flux, coverage=1)], PREPROCESSING)
