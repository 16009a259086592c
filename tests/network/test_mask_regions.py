"""Masks that reach beyond their boxes: `mask_context`."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import CONFIGS

from cells.instances import Boxes
from network.detector import Detector
from network.mask_regions import grow_boxes
from network.merging import mean_masks
from network.models import build_model
from network.roi_heads import _grown_positives
from training.config import load_config
from utils.device import seed_everything
from utils.script import InputError

BOXES = np.array([[10, 20, 30, 60], [0, 0, 8, 8], [90, 95, 100, 100]], np.float32)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_boxes_grow_about_their_centres_within_the_image(kind):
    grown = grow_boxes(kind(BOXES), 1.5, (100, 98))
    expected = [[5, 10, 35, 70], [0, 0, 10, 10], [87.5, 93.75, 98, 100]]
    np.testing.assert_allclose(np.asarray(grown), expected)
    assert BOXES[0].tolist() == [10, 20, 30, 60]  # the argument stays as it was


def test_boxes_that_do_not_grow_are_the_same():
    assert grow_boxes(BOXES, 1.0, (5, 5)) is BOXES


def test_models_of_different_context_see_the_same_mask():
    """One predicts the box alone, the other 1.5 times of it: a ramp is the same ramp in both."""
    box = np.array([[20, 20, 60, 60]], np.float32)

    def ramp(x1: float, x2: float) -> np.ndarray:
        """x / 100 at the centres of 40 cells."""
        columns = x1 + (np.arange(40, dtype=np.float32) + 0.5) * (x2 - x1) / 40
        return np.tile(columns / 100, (1, 40, 1)).astype(np.float32)

    boxes = Boxes(box, np.ones(1, np.float32), np.zeros(1, np.int64))
    both = mean_masks(boxes, [ramp(20, 60), ramp(10, 70)], (90, 90), [1.0, 1.5])
    assert both.offsets.tolist() == [[9, 9]] and both.masks[0].shape == (62, 62)
    columns = (np.arange(9, 71) + 0.5) / 100
    np.testing.assert_allclose(both.masks[0][30, 2:-2], columns[2:-2], atol=1e-5)
    alone = mean_masks(boxes, [ramp(10, 70)], (90, 90), [1.5])
    np.testing.assert_allclose(both.masks[0][:2], alone.masks[0][:2], atol=1e-5)  # fades out alike


def test_models_that_look_at_the_same_pixels_have_a_vote_each():
    boxes = Boxes(BOXES[:1], np.ones(1, np.float32), np.zeros(1, np.int64))
    grids = [np.full((1, 28, 28), value, np.float32) for value in (0.2, 0.8)]
    (mask,) = mean_masks(boxes, grids, (100, 100), [1.2, 1.6]).masks
    assert mask[mask.shape[0] // 2, mask.shape[1] // 2] == pytest.approx(0.5)
    assert mask[3, 3] == pytest.approx(0.8)  # where only the second one looks


def test_the_mask_head_learns_from_grown_regions():
    result = SimpleNamespace(pos_bboxes=torch.tensor([[10.0, 10, 30, 20]]), pos_gt_labels="kept")
    grown = _grown_positives(result, 2.0, (24, 100))
    assert grown.pos_bboxes.tolist() == [[0, 5, 40, 24]]
    assert result.pos_bboxes.tolist() == [[10, 10, 30, 20]] and grown.pos_gt_labels == "kept"


def cascade(**roi_head) -> Detector:
    """A tiny cascade with one mask head, the weights always the same."""
    config = load_config(str(CONFIGS / "tiny_cascade.py"))
    model_config = config.model.to_dict()
    model_config["roi_head"].update(type="OneMaskHeadCascadeRoIHead", **roi_head)
    seed_everything(0)
    model = build_model(json.loads(json.dumps(model_config)))
    inference = dict(config.inference, pixel_mean=[128.0] * 3, pixel_std=[12.0] * 3)
    return Detector(model, inference, "abc", torch.device("cpu"))


def test_a_model_answers_for_grown_boxes():
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), dtype=np.uint8)
    boxes, labels = np.array([[40, 20, 60, 40], [0, 0, 20, 30]], np.float32), np.array([0, 2])
    plain, wide = cascade(), cascade(mask_context=1.5)
    (features,) = plain.features([plain.prepare(image)])
    expected = plain.mask_probabilities(features, grow_boxes(boxes, 1.5, (70, 110)), labels)
    np.testing.assert_allclose(wide.mask_probabilities(features, boxes, labels), expected)
    assert not np.allclose(plain.mask_probabilities(features, boxes, labels), expected)


@pytest.mark.parametrize("context", [0.5, 5, float("nan")])
def test_a_context_out_of_range_is_refused(context):
    with pytest.raises(InputError, match="mask_context is .*, not between 1 and 4"):
        cascade(mask_context=context)
