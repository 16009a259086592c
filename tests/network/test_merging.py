"""Pasting and NMS of masks against the original solution and known answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import DATA, full_frames, squares
from torch.nn import functional

from cells.instances import Boxes, Instances
from cells.masks import paste
from network.merging import PostProcessing, mask_nms, merge_boxes, paste_probabilities


def test_paste_equals_grid_sample_on_the_full_frame():
    """The definition: detectron2's and mmdet's pasting with align_corners=False."""
    rng = np.random.default_rng(0)
    boxes = np.array([[3.3, 2.1, 17.9, 30.5], [0, 0, 40, 36], [38.2, 30.7, 40, 36], [5, 5, 5.4, 6]])
    boxes = boxes.astype(np.float32)
    grids = rng.random((4, 28, 28)).astype(np.float32)
    crops, offsets = paste_probabilities(grids, boxes, (36, 40))
    # a pixel more than the boxes, within the image
    assert offsets.tolist() == [[2, 1], [0, 0], [37, 29], [4, 4]]
    assert [crop.shape for crop in crops] == [(31, 17), (36, 40), (7, 3), (3, 3)]
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


def test_nms_drops_masks_without_foreground():
    instances = squares((0, 0), (6, 0), scores=[0.5, 0.9])
    masks = [instances.masks[0], np.full((4, 4), 0.49, np.float32)]
    assert mask_nms(replace(instances, masks=masks), 0.5).tolist() == [0]


@pytest.mark.parametrize("threshold", [0.02, 0.2, 0.5])
def test_nms_equals_its_definition(threshold):
    """Compared pair by pair on whole frames; many masks overlap several others."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        masks = np.zeros((60, 40, 50), np.float32)
        for mask, (y, x, height, width) in zip(
            masks, rng.integers((0, 0, 1, 1), (36, 46, 16, 16), (60, 4)), strict=True
        ):
            mask[y : y + height, x : x + width] = rng.random() > 0.03  # few are empty
        scores = rng.integers(1, 20, 60) / 20
        scores[0] = 1
        kept: list[int] = []
        for i in np.argsort(-scores, kind="stable"):
            ious = [
                (masks[i] * masks[j]).sum() / np.maximum(masks[i], masks[j]).sum() for j in kept
            ]
            if masks[i].any() and max(ious, default=0) < threshold:
                kept.append(int(i))
        assert mask_nms(full_frames(masks, scores), threshold).tolist() == kept


def test_rules_that_nobody_chose_are_the_solution_s():
    rules = PostProcessing({"default": 0.5})
    assert (rules.box_nms_iou, rules.mask_nms_iou) == (0.99, 0.1)
    assert rules.mask_threshold == {"default": 0.5}
    assert rules.max_detections == 10_000
    boxes = np.array([[0, 0, 1000, 9], [0, 0, 995, 9], [0, 0, 985, 9]], np.float32)
    found = merge_boxes([Boxes(boxes, np.ones(3, np.float32), np.zeros(3, np.int64))], (9, 1000))
    assert found.boxes[:, 2].tolist() == [1000, 985]  # of IoU 0.995 and 0.985
    places = np.arange(10_001, dtype=np.float32)[:, None]
    many = np.hstack([places, 0 * places, places + 1, 0 * places + 1])
    labels = np.arange(10_001) % 100  # fewer pairs to compare
    found = merge_boxes([Boxes(many, np.ones(10_001, np.float32), labels)], (1, 10_001))
    assert len(found) == 10_000


def test_boxes_without_score_or_extent_are_dropped():
    rows = [
        (0, 0, 9, 9),
        (0, 0, 9, 0),
        (0, 0, 0, 9),
        (9, 9, 30, 30),
        (30, 30, 40, 40),
        (1, 1, 2, 2),
    ]
    scores = np.array([1, 1, 1, 1, 1, 1e-8], np.float32)
    boxes = Boxes(np.array(rows, np.float32), scores, np.zeros(6, np.int64))
    found = merge_boxes([boxes], (20, 10), 0.5, 10)
    assert sorted(found.boxes.tolist()) == [[0, 0, 9, 9], [9, 9, 10, 20]]
