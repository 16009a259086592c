"""Masks: pasting, IoU, NMS and label images against known answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import DATA, full_frames
from torch.nn import functional

from cells.instances import Instances
from cells.masks import (
    encode,
    label_image,
    mask_nms,
    paste,
    paste_probabilities,
    rle_areas,
    rle_iou,
    to_rles,
    visible_crops,
)
from cells.rle import foreground_pixels


def squares(*corners: tuple[int, int], scores: list[float], size: int = 4) -> Instances:
    """Instances of size x size pixels at the given x, y in an image of 12 x 10 pixels."""
    offsets = np.array(corners).reshape(-1, 2)
    return Instances(
        image_size=(10, 12),
        boxes=np.hstack([offsets, offsets + size]).astype(np.float32),
        scores=np.array(scores, np.float32),
        labels=np.zeros(len(scores), np.int64),
        masks=[np.ones((size, size), np.float32)] * len(scores),
        offsets=offsets,
    )


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


def test_iou_of_shifted_squares():
    instances = squares((0, 0), (2, 0), (8, 6), scores=[1, 1, 1])
    iou = rle_iou(to_rles(instances), to_rles(instances))
    np.testing.assert_allclose(iou, [[1, 8 / 24, 0], [8 / 24, 1, 0], [0, 0, 1]])


def test_iou_equals_the_original_solution():
    ops = np.load(DATA / "d2_ensemble_ops.npz")
    rles = [encode(mask >= 0.5) for mask in ops["mask_float"]]
    np.testing.assert_allclose(rle_iou(rles, rles), ops["mask_iou"], atol=1e-6)
    np.testing.assert_array_equal(rle_areas(rles), ops["mask_area"])


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


def test_many_masks_and_none():
    """More than 255: a list that pycocotools itself cannot take the areas of."""
    many = [encode(np.eye(3, dtype=bool))] * 300
    assert rle_areas(many).tolist() == [3] * 300
    assert mask_nms(squares(*[(0, 0)] * 300, scores=[1] * 300), 0.5).tolist() == [0]
    assert mask_nms(Instances.empty((3, 4)), 0.5).shape == (0,)
    assert rle_iou([], many).shape == (0, 300)


def test_label_image_gives_pixels_to_the_best_score():
    labels = label_image(squares((0, 0), (2, 0), scores=[0.5, 0.9]))
    assert labels[0].tolist() == [1, 1, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    assert (labels == 1).sum() == 8
    assert (labels == 2).sum() == 16
    assert not label_image(Instances.empty((3, 4))).any()


def test_rles_of_crops_are_those_of_frames():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 4), (7, 9)):
        crop = (rng.random(shape) > 0.5).astype(np.float32)
        for frame, offset in ((shape, (0, 0)), ((12, 15), (3, 2)), ((12, 15), (0, 5))):
            offsets = np.array([offset])
            instances = replace(full_frames(crop[None], [1]), image_size=frame, offsets=offsets)
            (rle,) = to_rles(instances)
            assert rle == encode(paste(crop, offset, frame) >= 0.5)


def test_one_pixel_masks():
    instances = squares((3, 2), scores=[0.9], size=1)
    (rle,) = to_rles(instances)
    assert rle_areas([rle]).tolist() == [1]
    assert label_image(instances).sum() == 1


def test_instances_are_indexed_together():
    instances = squares((0, 0), (2, 0), (8, 6), scores=[0.5, 0.9, 0.7])
    assert instances.sorted_by_score().scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert instances[instances.scores > 0.6].offsets.tolist() == [[2, 0], [8, 6]]
    with pytest.raises(ValueError, match="different lengths"):
        squares((0, 0), scores=[0.5, 0.6])


def test_visible_crops_are_what_the_label_image_shows():
    rng = np.random.default_rng(0)
    for _ in range(30):
        count = int(rng.integers(0, 25))
        sizes = rng.integers(1, 9, (count, 2))
        offsets = rng.integers(0, (40 - 9, 30 - 9), (count, 2))
        instances = Instances(
            (30, 40),
            np.zeros((count, 4), np.float32),
            rng.choice([0.5, 0.6, 0.7], count).astype(np.float32),  # equal scores, too
            np.zeros(count, np.int64),
            [rng.random(size).astype(np.float32) for size in sizes],
            offsets,
        )
        expected = label_image(instances)
        for i, crop in enumerate(visible_crops(instances)):
            assert (paste(crop, offsets[i], (30, 40)) == (expected == i + 1)).all()


@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (40, 33), (300, 2)])
def test_foreground_pixels_equal_decoding(shape):
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < share for share in (0.5, 0.02, 0.98, 1, 0)]
    pixels, owner = foreground_pixels([encode(mask) for mask in masks])
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(pixels[owner == i], np.flatnonzero(mask.ravel(order="F")))
    assert len(foreground_pixels([])[0]) == 0
