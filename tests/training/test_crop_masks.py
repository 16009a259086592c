"""Training masks as crops: every operation agrees with mmdet's full-frame masks."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pytest
from mmdet.core.mask.structures import BitmapMasks

from training.crop_masks import CropMasks

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def masks() -> CropMasks:
    """A square, an L at the border, a single pixel."""
    ell = np.zeros((12, 10), np.uint8)
    ell[:, :4] = 1
    ell[8:] = 1
    crops = [np.ones((8, 8), np.uint8), ell, np.ones((1, 1), np.uint8)]
    return CropMasks(crops, np.array([[10, 5], [50, 28], [33, 20]]), HEIGHT, WIDTH)


@pytest.fixture
def frames(masks) -> BitmapMasks:
    return BitmapMasks(masks.to_ndarray(), HEIGHT, WIDTH)


def assert_same(crops: CropMasks, frames: BitmapMasks) -> None:
    np.testing.assert_array_equal(crops.to_ndarray(), frames.to_ndarray())


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_flip(masks, frames, direction):
    assert_same(masks.flip(direction), frames.flip(direction))


@pytest.mark.parametrize(
    "window", [(0, 0, 60, 40), (12, 7, 40, 30), (55, 35, 60, 40), (20, 10, 21, 11)]
)
def test_crop(masks, frames, window):
    assert_same(masks.crop(np.array(window)), frames.crop(np.array(window)))


def test_pad_and_expand(masks, frames):
    assert_same(masks.pad((50, 64)), frames.pad((50, 64)))
    assert_same(masks.expand(60, 80, 7, 9), frames.expand(60, 80, 7, 9))


def test_resize_to_twice_the_size_keeps_areas_and_boxes(masks):
    doubled = masks.resize((80, 120))
    assert (doubled.height, doubled.width) == (80, 120)
    # bilinear sampling rounds corners off: at most one pixel each
    assert np.abs(doubled.areas - 4 * masks.areas).max() <= 8
    np.testing.assert_allclose(doubled.get_bboxes()[:2], 2 * masks.get_bboxes()[:2], atol=1)


def test_boxes_and_areas(masks, frames):
    np.testing.assert_array_equal(masks.areas, frames.areas)
    np.testing.assert_array_equal(masks.get_bboxes(), frames.get_bboxes())


def test_mask_targets(masks, frames):
    boxes = np.array([[9, 4, 19, 14], [48.5, 27, 60, 40], [10, 5, 18, 13]], np.float32)
    inds = np.array([0, 1, 0])
    ours = masks.crop_and_resize(boxes, (28, 28), inds).to_ndarray()
    theirs = frames.crop_and_resize(boxes, (28, 28), inds).to_ndarray()
    # mmdet samples each cell of the grid several times where cells are larger than pixels
    assert (ours != theirs).mean() < 0.02
    assert ours[2].sum() >= 28 * 28 - 4  # except for the corners


def test_rotation_by_a_right_angle_moves_pixels_exactly(masks):
    turned = masks.rotate((60, 60), 90, center=(29.5, 29.5))
    padded = masks.pad((60, 60)).to_ndarray()
    np.testing.assert_array_equal(turned.to_ndarray(), np.rot90(padded, -1, axes=(1, 2)))


def test_displacement_moves_masks(masks):
    shift = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    shift[..., 0] = -3  # each pixel comes from 3 pixels further left
    identity = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    moved = masks.warp(identity, (HEIGHT, WIDTH), shift)
    assert moved.get_bboxes()[0].tolist() == [13, 5, 21, 13]
    assert moved.areas[0] == 64


def test_no_masks():
    empty = CropMasks([], np.zeros((0, 2)), HEIGHT, WIDTH)
    assert empty.resize((80, 120)).to_ndarray().shape == (0, 80, 120)
    assert empty.get_bboxes().shape == (0, 4)
    assert len(empty.crop(np.array([0, 0, 5, 5])).flip()) == 0
