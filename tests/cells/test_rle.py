"""Run-length encodings: IoU, areas and checks against known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import DATA, full_frames, squares
from pycocotools import mask as coco_mask

from cells.masks import paste
from cells.rle import encode, foreground_pixels, rle_areas, rle_crop, rle_iou, to_rle, to_rles


def test_iou_of_shifted_squares():
    instances = squares((0, 0), (2, 0), (8, 6), scores=[1, 1, 1])
    iou = rle_iou(to_rles(instances), to_rles(instances))
    np.testing.assert_allclose(iou, [[1, 8 / 24, 0], [8 / 24, 1, 0], [0, 0, 1]])


def test_iou_equals_the_original_solution():
    ops = np.load(DATA / "d2_ensemble_ops.npz")
    rles = [encode(mask >= 0.5) for mask in ops["mask_float"]]
    np.testing.assert_allclose(rle_iou(rles, rles), ops["mask_iou"], atol=1e-6)
    np.testing.assert_array_equal(rle_areas(rles), ops["mask_area"])


def test_rles_of_crops_are_those_of_frames():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 4), (7, 9)):
        crop = (rng.random(shape) > 0.5).astype(np.float32)
        for frame, offset in ((shape, (0, 0)), ((12, 15), (3, 2)), ((12, 15), (0, 5))):
            offsets = np.array([offset])
            instances = replace(full_frames(crop[None], [1]), image_size=frame, offsets=offsets)
            (rle,) = to_rles(instances)
            assert rle == encode(paste(crop, offset, frame) >= 0.5)


def test_many_masks_none_and_one_pixel():
    """More than 255: a list that pycocotools itself cannot take the areas of."""
    many = [encode(np.eye(3, dtype=bool))] * 300
    assert rle_areas(many).tolist() == [3] * 300
    assert rle_iou([], many).shape == (0, 300)
    assert rle_areas(to_rles(squares((3, 2), scores=[0.9], size=1))).tolist() == [1]


def total_run_length(counts: bytes) -> int:
    """COCO's `rleFrString` character by character: the sum of all runs, -1 for a wrong string."""
    runs: list[int] = []
    value = shift = 0
    for byte in counts:
        digit = byte - 48
        if not 0 <= digit < 64:
            return -1
        value |= (digit & 0x1F) << shift
        shift += 5
        if not digit & 0x20:
            if digit & 0x10:
                value |= -1 << shift
            if len(runs) > 2:
                value += runs[-2]
            if value < 0:
                return -1
            runs.append(value)
            value = shift = 0
    return sum(runs) if shift == 0 else -1


def test_wrong_strings_are_refused():
    """pycocotools would write outside its memory; right strings, changed at random."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        height, width = (int(side) for side in rng.integers(1, 40, 2))
        counts = bytearray(encode(rng.random((height, width)) > rng.random())["counts"].encode())
        for _ in range(rng.integers(0, 3)):
            counts[rng.integers(len(counts))] = rng.integers(40, 120)
        if rng.random() < 0.2:
            del counts[rng.integers(len(counts)) :]
        right = total_run_length(bytes(counts)) == height * width
        refused += not right
        segmentation = {"size": [height, width], "counts": bytes(counts)}
        try:
            rle = to_rle(segmentation, height, width)
        except ValueError as error:
            assert not right or "covers no pixel" in str(error)
        else:
            assert right
            assert len(foreground_pixels([rle])[0]) == coco_mask.area(rle)
    assert 200 < refused < 1800


@pytest.mark.parametrize("counts", ["", "o", "ooooooo", "0" * 1000, "oooooooooooooooo0", "\u20ac"])
def test_strings_that_are_no_rle_at_all(counts):
    with pytest.raises(ValueError, match="add up"):
        to_rle({"size": [3, 4], "counts": counts}, 3, 4)


@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (40, 33), (300, 2)])
def test_foreground_pixels_equal_decoding(shape):
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < share for share in (0.5, 0.02, 0.98, 1, 0)]
    pixels, owner = foreground_pixels([encode(mask) for mask in masks])
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(pixels[owner == i], np.flatnonzero(mask.ravel(order="F")))
    assert len(foreground_pixels([])[0]) == 0


def test_tight_crops_of_run_lengths():
    frame = np.zeros((9, 12), bool)
    frame[2:5, 3:7] = np.eye(3, 4, dtype=bool)
    crop = rle_crop(encode(frame))
    assert crop.offset == (3, 2)
    np.testing.assert_array_equal(crop.mask, np.eye(3, dtype=bool))
    frame[8, 11] = True
    crop = rle_crop(encode(frame))
    np.testing.assert_array_equal(paste(*crop, frame.shape), frame)
    assert crop.mask.shape == (7, 9)
    nothing = rle_crop(encode(np.zeros((9, 12), bool)))
    assert (nothing.mask.shape, nothing.mask.dtype, nothing.offset) == ((0, 0), bool, (0, 0))


@pytest.mark.parametrize(
    ("ring", "complaint"),
    [
        ([0, 0, 4, 0, 4, 4, 0, 4], None),
        ([-1, -1, 11, -1, 11, 7, -1, 7], None),  # a pixel beyond the image, as some programs do
        ([-1.1, 0, 4, 0, 4, 4], "outside"),
        ([0, 0, 11.1, 0, 4, 4], "outside"),
        ([0, 0, 4, 0, 4, 7.1], "outside"),
        ([0, 0, 4, 0, 4], "degenerate"),
        ([0, 0, 4, 0, 4, 4, 0], "degenerate"),
        ([0, 0, 4, 0, 4, True], "numbers"),
        ([0, 0, 4, 0, 4, 2e9], "numbers"),
        ([0, 0, 4, 0, 4, float("nan")], "numbers"),
    ],
)
def test_polygons_near_an_image_of_10_x_6(ring, complaint):
    if complaint is None:
        assert 16 <= rle_areas([to_rle([ring], 6, 10)])[0] <= 60
    else:
        with pytest.raises(ValueError, match=complaint):
            to_rle([ring], 6, 10)


@pytest.mark.parametrize(
    ("segmentation", "complaint"),
    [
        ({"size": [3, 4], "counts": [5, 2, 5]}, None),
        ({"size": (3, 4), "counts": [5, 2, 5]}, None),
        ({"size": [4, 3], "counts": [5, 2, 5]}, "size"),
        ({"size": 12, "counts": [5, 2, 5]}, "size"),
        ({"size": [3, 4], "counts": [5, 2, 4]}, "add up"),
        ({"size": [3, 4], "counts": [15, -8, 5]}, "add up"),
        ({"size": [3, 4], "counts": 5}, "neither a list nor a string"),
        ({"size": [3, 4], "counts": [12]}, "no pixel"),
        ([], "neither polygons nor RLE"),
        ("abc", "neither polygons nor RLE"),
    ],
)
def test_run_lengths_of_an_image_of_4_x_3(segmentation, complaint):
    if complaint is None:
        assert rle_areas([to_rle(segmentation, 3, 4)]).tolist() == [2]
    else:
        with pytest.raises(ValueError, match=complaint):
            to_rle(segmentation, 3, 4)
