"""Operations on crops against the same operations on whole frames, and known answers."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from training.crop_masks import CropMasks

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def square() -> CropMasks:
    """Eight by eight pixels at x 10, y 5."""
    return CropMasks([np.ones((8, 8), np.uint8)], np.array([[10, 5]]), HEIGHT, WIDTH)


def blobs(seed: int, count: int = 12) -> CropMasks:
    """Crops with holes, some of them at the borders."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 20, (count, 2))
    offsets = rng.integers(0, (WIDTH, HEIGHT) - sizes[:, ::-1] + 1)
    crops = [cv2.blur(rng.random(tuple(size)), (3, 3)) > 0.35 for size in sizes]
    return CropMasks([crop.astype(np.uint8) for crop in crops], offsets, HEIGHT, WIDTH)


def whole_frames_warped(masks: CropMasks, matrix, out_shape, displacement=None) -> np.ndarray:
    """The definition of `CropMasks.warp`, on whole frames."""
    xs, ys = np.meshgrid(np.arange(out_shape[1]), np.arange(out_shape[0]))
    inverse = cv2.invertAffineTransform(matrix)
    source = np.stack([xs, ys, np.ones_like(xs)], axis=2) @ inverse.T
    if displacement is not None:
        source = source + displacement
    soft = [
        cv2.remap(frame * np.uint8(255), source.astype(np.float32), None, cv2.INTER_LINEAR)
        for frame in masks.to_ndarray()
    ]
    return np.array(soft) >= 128


def random_matrix(rng: np.random.Generator) -> np.ndarray:
    angle, scale = rng.uniform(0, 360), np.exp(rng.uniform(-0.7, 0.7))
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle, scale)
    matrix[:, :2] @= np.array([[1, rng.uniform(-0.3, 0.3)], [0, rng.choice([-1, 1])]])
    matrix[:, 2] += rng.uniform(-10, 10, 2)
    return matrix


@pytest.mark.parametrize("displaced", [False, True])
@pytest.mark.parametrize("out_shape", [(40, 60), (33, 90)])
def test_warping_equals_that_of_whole_frames(displaced, out_shape):
    rng = np.random.default_rng(5)
    for seed in range(8):
        masks, matrix, displacement = blobs(seed), random_matrix(rng), None
        if displaced:
            coarse = rng.normal(0, 4, (3, 4, 2)).astype(np.float32)
            displacement = cv2.resize(coarse, out_shape[::-1], interpolation=cv2.INTER_CUBIC)
        found = masks.warp(matrix, out_shape, displacement)
        assert (found.height, found.width) == out_shape
        expected = whole_frames_warped(masks, matrix, out_shape, displacement)
        differing = (found.to_ndarray() != expected).sum(axis=(1, 2))  # rounded otherwise
        assert differing.max() <= 2 and differing.sum() <= 6
        for crop, (x, y) in zip(found.crops, found.offsets, strict=True):
            assert 0 <= x <= x + crop.shape[1] <= out_shape[1]
            assert 0 <= y <= y + crop.shape[0] <= out_shape[0]


def test_warped_crops_stay_small(square):
    """The bounding box of the moved corners, and a pixel around it."""
    found = square.warp(np.array([[1.0, 0, 7], [0, 1.0, 9]]), (HEIGHT, WIDTH))
    assert found.crops[0].shape == (10, 10)
    assert found.offsets.tolist() == [[16, 13]]


@pytest.mark.parametrize("shift", [(-19, 0), (51, 0), (0, -14), (0, 36)])
def test_a_mask_that_leaves_the_frame_is_empty(square, shift):
    found = square.warp(np.array([[1.0, 0, shift[0]], [0, 1.0, shift[1]]]), (HEIGHT, WIDTH))
    assert (found.crops[0].shape, found.offsets.tolist()) == ((1, 1), [[0, 0]])
    assert found.areas.tolist() == [0]
    assert found.get_bboxes().tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("shift", [(-17, 0), (49, 0), (0, -12), (0, 34)])
def test_of_a_mask_at_the_edge_of_the_frame_a_line_is_left(square, shift):
    found = square.warp(np.array([[1.0, 0, shift[0]], [0, 1.0, shift[1]]]), (HEIGHT, WIDTH))
    assert found.areas.tolist() == [8]


def sampled(masks: CropMasks, places: torch.Tensor) -> np.ndarray:
    """Bilinear between pixel centres, zero outside the frame; places float [K, P, Q, 2]."""
    frames = torch.from_numpy(masks.to_ndarray()).float()[:, None]
    grid = places / torch.tensor([masks.width, masks.height]) * 2 - 1
    return functional.grid_sample(frames, grid, align_corners=False)[:, 0].numpy()


def test_mask_targets_are_samples_at_the_centres_of_a_grid():
    masks = blobs(3)
    rng = np.random.default_rng(0)
    inds = rng.permutation(12)
    low = masks.get_bboxes()[inds, :2] + rng.uniform(-3, 3, (12, 2))
    boxes = np.hstack([low, low + rng.uniform(3, 25, (12, 2))]).astype(np.float32)
    x, y = (torch.arange(n) + 0.5 for n in (14, 9))
    steps = torch.from_numpy((boxes[:, 2:] - boxes[:, :2]) / (14, 9))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)
    places = torch.from_numpy(boxes[:, None, None, :2]) + grid * steps[:, None, None]
    expected = sampled(masks[inds], places.float())
    soft = masks.crop_and_resize(boxes, (9, 14), inds, binarize=False).to_ndarray()
    np.testing.assert_allclose(soft, expected, atol=0.05)  # OpenCV: in steps of 1/32 pixel
    binary = masks.crop_and_resize(boxes, (9, 14), inds).to_ndarray()
    np.testing.assert_array_equal(binary, soft >= 0.5)
    assert 0.1 < binary.mean() < 0.9


def test_a_sample_between_a_cell_and_nothing_is_foreground():
    masks = CropMasks([np.ones((4, 4), np.uint8)], np.array([[10, 8]]), HEIGHT, WIDTH)
    box, inds = np.array([[9.5, 8, 14.5, 12]], np.float32), np.array([0])
    soft = masks.crop_and_resize(box, (4, 5), inds, binarize=False).to_ndarray()
    assert soft[0].tolist() == [[0.5, 1, 1, 1, 0.5]] * 4
    assert masks.crop_and_resize(box, (4, 5), inds).to_ndarray().all()


def test_samples_at_points():
    masks = blobs(4)
    inds = np.random.default_rng(1).permutation(12)[:7]
    points = np.random.default_rng(2).uniform((-3, -3), (WIDTH + 3, HEIGHT + 3), (7, 200, 2))
    found = masks.sample(points.astype(np.float32), inds)
    expected = sampled(masks[inds], torch.from_numpy(points).float()[:, None])[:, 0]
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert found.shape == (7, 200) and found.max() == 1


def test_rescaling_by_a_factor_and_into_a_size(square):
    for scale, size in ((2.0, (80, 120)), ((120, 60), (60, 90))):
        found = square.rescale(scale)
        assert (found.height, found.width) == size
        np.testing.assert_array_equal(found.to_ndarray(), square.resize(size).to_ndarray())


def test_resizing_maps_edges_to_edges():
    masks = CropMasks([np.ones((8, 12), np.uint8)], np.array([[12, 4]]), HEIGHT, WIDTH)
    for out_shape, box in (
        ((20, 30), [6, 2, 12, 6]),
        ((80, 60), [12, 8, 24, 24]),
        ((40, 180), [36, 4, 72, 12]),
    ):
        assert masks.resize(out_shape).get_bboxes().tolist() == [box]


def test_translating(square):
    assert square.translate((40, 60), 5).get_bboxes().tolist() == [[15, 5, 23, 13]]
    assert square.translate((40, 60), -15).get_bboxes().tolist() == [[0, 5, 3, 13]]
    found = square.translate((50, 60), 5, "vertical")
    assert found.get_bboxes().tolist() == [[10, 10, 18, 18]]
    assert (found.height, found.width) == (50, 60)


def test_rotating(square):
    half = square.rotate((HEIGHT, WIDTH), 180)
    np.testing.assert_array_equal(half.to_ndarray(), square.flip("diagonal").to_ndarray())
    larger = square.rotate((HEIGHT, WIDTH), 0, center=(13.5, 8.5), scale=1.5)
    assert larger.get_bboxes().tolist() == [[8, 3, 20, 15]]


def test_shearing(square):
    """Row y moves by y pixels: rows 5 to 12, columns 10 to 17."""
    across, down = square.shear((40, 60), 1.0), square.shear((40, 60), 1.0, "vertical")
    assert across.get_bboxes().tolist() == [[15, 5, 30, 13]]
    assert down.get_bboxes().tolist() == [[10, 15, 18, 30]]
    for sheared in (across, down):
        assert sheared.areas.tolist() == [64]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((12, 7, 30, 30), (0, 0, 6, 6)),
        ((0, 0, 14, 9), (10, 5, 14, 9)),
        ((18, 5, 30, 30), (0, 0, 0, 0)),
        ((10, 13, 30, 30), (0, 0, 0, 0)),
        ((17, 12, 99, 99), (0, 0, 1, 1)),
        ((-4, -2, 12, 6), (10, 5, 12, 6)),
        ((60, 40, 60, 40), (0, 0, 0, 0)),
    ],
)
def test_cropping(square, window, expected):
    found = square.crop(np.array(window))
    x1, y1, x2, y2 = np.clip(window, 0, (WIDTH, HEIGHT) * 2)
    assert (found.height, found.width) == (max(y2 - y1, 1), max(x2 - x1, 1))
    assert found.get_bboxes().tolist() == [list(expected)]
    assert all(crop.size for crop in found.crops)


def test_selecting_and_converting():
    masks = blobs(6)
    assert (len(masks[3]), len(masks[np.array([4, 2])]), len(masks[masks.areas < 0])) == (1, 2, 0)
    frames = masks.to_ndarray()
    np.testing.assert_array_equal(masks[np.array([4, 2])].to_ndarray(), frames[[4, 2]])
    tensor = masks.to_tensor(torch.float64, "cpu")
    assert tensor.dtype == torch.float64
    np.testing.assert_array_equal(tensor.numpy(), frames)
    assert masks.areas.tolist() == frames.sum(axis=(1, 2)).tolist()


def test_boxes_are_tight():
    mask = np.zeros((6, 7), np.uint8)
    mask[2:4, 1:6] = 1
    masks = CropMasks([mask], np.array([[20, 10]]), HEIGHT, WIDTH)
    assert masks.get_bboxes().tolist() == [[21, 12, 26, 14]]
