"""Pasting and NMS of masks against the original solution and known answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import DATA, full_frames, squares
from torch.nn import functional

from cells.instances import Instances
from cells.masks import paste
from network.merging import mask_nms, paste_probabilities


def test_paste_equals_grid_sample_on_the_full_frame():
    """The definition: detectron2's and mmdet's pasting with align_corners=False."""
    rng = np.random.default_rng(0)
    boxes = np.array([[3.3, 2.1, 17.9, 30.5], [0, 0, 40, 36], [38.2, 30.7, 40, 36], [5, 5, 5.4, 6]])
    boxes = boxes.astype(np.float32)
    grids = rng.random((4, 28, 28)).astype(np.float32)
    crops, offsets = paste_probabilities(grids, boxes, (36, 40))
    ys, xs = torch.arange(36) + 0.5, torch.arange(40) + 0.5
    for crop, offset, box, grid in zip(crops, offsets, boxes, grids, strict=True):
        x = (xs - box[0]) / (box[2] - box[0]) * 2 - 1
        y = (ys - box[1]) / (box[3] - box[1]) * 2 - 1
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)[None]
        expected = functional.grid_sample(
            torch.from_numpy(grid)[None, None], at, align_corners=False
        )
        frame = paste(crop, offset, (36, 40))
        np.testing.assert_allclose(frame, expected[0, 0].numpy(), atol=2e-5)


def test_pasted_masks_equal_the_original_solution():
    ops = np.load(DATA / "d2_ensemble_ops.npz")
    crops, offsets = paste_probabilities(
        ops["maskmean_out"][ops["paste_out_index"], 0], ops["paste_out_boxes"], (120, 160)
    )
    for crop, offset, bits in zip(crops, offsets, ops["paste_out_bits"], strict=True):
        expected = np.unpackbits(bits)[: 120 * 160].reshape(120, 160)
        np.testing.assert_array_equal(paste(crop >= 0.5, offset, (120, 160)), expected)


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_nms_equals_the_original_solution(threshold):
    """It walks in the order given, so the scores only need to descend; it keeps empty masks."""
    ops = np.load(DATA / "d2_ensemble_ops.npz")
    masks = ops["mask_float"]
    kept = mask_nms(full_frames(masks, np.linspace(1, 0, len(masks))), threshold)
    expected = ops[f"mask_nms_keep_0{threshold * 100:.0f}"]
    expected = [i for i in expected if ops["mask_area"][i] > 0]
    assert kept.tolist() == expected


@pytest.mark.parametrize("threshold", ["0.1", "0.3"])
def test_nms_equals_the_reference(threshold):
    data = np.load(DATA / "instances.npz")
    instances = full_frames(data["mask_probs"] / np.float32(65535), data["scores"])
    expected = json.loads((DATA / "expected.json").read_text())["mask_nms_keep"][threshold]
    assert mask_nms(instances, float(threshold)).tolist() == expected
    shuffled = np.random.default_rng(0).permutation(len(instances))
    kept = mask_nms(instances[shuffled], float(threshold))
    assert shuffled[kept].tolist() == expected


def test_nms_keeps_the_best_and_drops_at_the_threshold():
    instances = squares((0, 0), (2, 0), (8, 6), scores=[0.5, 0.9, 0.7])
    assert mask_nms(instances, 8 / 24).tolist() == [1, 2]
    assert mask_nms(instances, 8 / 24 + 1e-9).tolist() == [1, 2, 0]


def test_nms_of_many_masks_and_of_none():
    assert mask_nms(squares(*[(0, 0)] * 300, scores=[1] * 300), 0.5).tolist() == [0]
    assert mask_nms(Instances.empty((3, 4)), 0.5).shape == (0,)
