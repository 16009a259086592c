"""What each step of the augmentation draws, within which bounds, and what it does with it."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import cv2
import numpy as np
import pytest

from cells.annotations import AnnotatedImage
from cells.grey import AS_STORED
from cells.images import resize
from cells.rle import encode
from training.crop_masks import CropMasks
from training.transforms import (
    DecodedWhenRead,
    LoadCellAnnotations,
    LoadCellImage,
    RandomIntensity,
    RandomWarp,
    ResizeToNetwork,
)
from utils.device import seed_everything

STILL = dict(scale=(1.0, 1.0), stretch=0.0, rotate=False, elastic=(0.0, 0.0))


@pytest.fixture
def record(tmp_path) -> AnnotatedImage:
    """Two rectangles and a crowd region in an image of 30 x 20 pixels."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30, 3), (1, 2, 3), np.uint8))
    boxes = np.array([[2, 3, 8, 9], [20, 10, 30, 20], [10, 1, 15, 4]], np.float32)
    masks = np.zeros((3, 20, 30), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    return AnnotatedImage(
        id="a",
        path=tmp_path / "a.png",
        image_size=(20, 30),
        boxes=boxes,
        labels=np.array([2, 0, 1]),
        rles=[encode(mask) for mask in masks],
        iscrowd=np.array([False, False, True]),
    )


def test_what_is_loaded(record):
    assert LoadCellImage().grey_rule is AS_STORED
    sample = LoadCellAnnotations()(LoadCellImage()({"record": record}))
    assert (sample["img"] == (1, 2, 3)).all()
    assert sample["img_shape"] == sample["ori_shape"] == sample["img"].shape == (20, 30, 3)
    assert (sample["filename"], sample["ori_filename"]) == (str(record.path), "a.png")
    assert (sample["img_fields"], sample["mask_fields"]) == (["img"], ["gt_masks"])
    assert sample["bbox_fields"] == ["gt_bboxes", "gt_bboxes_ignore"]
    np.testing.assert_array_equal(sample["gt_bboxes"], record.boxes[:2])
    np.testing.assert_array_equal(sample["gt_bboxes_ignore"], record.boxes[2:])
    assert sample["gt_labels"].tolist() == [2, 0]
    np.testing.assert_array_equal(sample["gt_masks"].get_bboxes(), record.boxes[:2])
    crops = sample["gt_masks"].crops
    assert isinstance(crops, DecodedWhenRead) and len(crops) == 2
    assert crops[1].shape == (10, 10) and crops[1].dtype == np.uint8


def matrices(shape: tuple[int, int], count: int = 300, **options) -> np.ndarray:
    warp = RandomWarp(**{"size": (60, 40), "network_scale": 2.0, **STILL, **options})
    seed_everything(0)
    return np.array([warp._matrix(shape) for _ in range(count)])


def test_without_other_options_the_window_is_turned_by_right_angles_and_mirrored():
    linear = matrices((200, 300))[:, :, :2]
    np.testing.assert_allclose(np.abs(np.linalg.det(linear)), 4)
    kinds = {tuple(np.round(matrix.ravel()).astype(int)) for matrix in linear}
    assert len(kinds) == 8  # four angles, each mirrored or not
    assert 0.4 < (np.linalg.det(linear) < 0).mean() < 0.6


def test_any_angle():
    linear = matrices((200, 300), rotate=True)[:, :, :2]
    x, y = linear[:, :, 1].T  # of the axis that mirroring leaves
    angles = np.degrees(np.arctan2(y, x)) % 360
    counts, _ = np.histogram(angles, bins=6, range=(0, 360))
    assert counts.min() > 300 / 6 * 0.6


def test_the_aspect_ratio_changes_by_the_stretch_at_most():
    linear = matrices((200, 300), stretch=0.2)[:, :, :2]
    np.testing.assert_allclose(np.abs(np.linalg.det(linear)), 4)
    width, height = np.linalg.norm(linear, axis=1).T
    ratio = np.log(width / height)
    assert -0.2 <= ratio.min() < -0.18 and 0.18 < ratio.max() <= 0.2


def test_windows_lie_in_the_image_and_touch_its_borders():
    """A window of 60 x 40 pixels shows at scale 2 30 x 20 of the image, turned or not."""
    corners = np.array([[0, 60, 0, 60], [0, 0, 40, 40], [1, 1, 1, 1.0]])
    places = []
    for matrix in matrices((200, 300)):
        turn = np.vstack([matrix, [0, 0, 1]])
        if abs(matrix[0, 0]) > 1:  # not by 90 degrees
            places.append((np.linalg.inv(turn) @ corners)[:2].T)
    low, high = np.min(places, axis=(0, 1)), np.max(places, axis=(0, 1))
    np.testing.assert_allclose(low, 0, atol=1e-6)
    np.testing.assert_allclose(high, (300, 200), atol=1e-6)
    centres = np.mean(places, axis=1)
    np.testing.assert_allclose(centres.mean(axis=0), (150, 100), rtol=0.15)
    assert (centres.std(axis=0) > (60, 40)).all()


def test_an_image_smaller_than_the_window_is_in_its_middle():
    for matrix in matrices((10, 12), 20):
        np.testing.assert_allclose(matrix @ (6, 5, 1), (30, 20))


def displacements(**options) -> np.ndarray:
    warp = RandomWarp(**{"size": (120, 90), "network_scale": 1.0, "elastic_sigma": 15, **options})
    seed_everything(0)
    return np.array([warp._displacement() for _ in range(40)])


def test_elastic_displacements_are_as_large_and_as_smooth_as_asked_for():
    found = displacements(elastic=(2.0, 2.0))
    assert found.shape == (40, 90, 120, 2) and found.dtype == np.float32
    assert abs(found.mean()) < 0.1
    assert 1.2 < found.std() < 2.2
    # a node every 15 pixels: over a pixel little changes, over 15 pixels much
    for axis in (1, 2):
        near, far = (
            np.diff(found, axis=axis),
            found.take(range(15, 60), axis) - found.take(range(45), axis),
        )
        assert near.std() < 0.3 < 1.2 < far.std()
    assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) < 0.1


def test_the_amplitude_of_the_displacement_is_drawn():
    spread = displacements(elastic=(1.0, 3.0)).std(axis=(1, 2, 3))
    assert 0.6 < spread.min() < 1.2 and 2.0 < spread.max() < 3.3
    assert not displacements(elastic=(0.0, 0.0)).any()
    coarse = displacements(elastic=(1.0, 1.0), elastic_sigma=1e6)  # two nodes in each direction
    assert coarse.std() > 0.3
    assert np.abs(np.diff(coarse, axis=1)).max() < 0.2


def sample_of(mask: np.ndarray) -> dict:
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    return dict(
        img=np.repeat(mask[:, :, None] * np.uint8(200), 3, axis=2),
        ori_shape=(height, width, 3),
        gt_masks=CropMasks([mask.astype(np.uint8)], np.zeros((1, 2)), height, width),
        gt_bboxes=np.array([box], np.float32),
        gt_labels=np.array([1]),
        gt_bboxes_ignore=np.array([box], np.float32),
        bbox_fields=["gt_bboxes", "gt_bboxes_ignore"],
    )


def fixed(warp: RandomWarp, monkeypatch, matrix, shift=(0.0, 0.0)) -> RandomWarp:
    width, height = warp.size
    monkeypatch.setattr(warp, "_matrix", lambda shape: np.array(matrix, np.float64))
    field = np.full((height, width, 2), shift, np.float32)
    monkeypatch.setattr(warp, "_displacement", lambda: field)
    return warp


def test_image_masks_and_boxes_move_together(monkeypatch):
    mask = np.zeros((40, 60), bool)
    mask[10:20, 15:35] = True
    warp = RandomWarp((80, 50), 1.0, fill=7.0)
    warp = fixed(warp, monkeypatch, [[1, 0, 12], [0, 1, 3]], shift=(2, -1))
    found = warp(sample_of(mask))
    assert found["img"].shape == found["img_shape"] == (50, 80, 3)
    # by 12 and 3; what is displaced comes from 2 further right and 1 further up
    assert found["gt_bboxes"].tolist() == [[25, 14, 45, 24]]
    ys, xs = np.nonzero(found["img"][..., 0] == 200)
    assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == [25, 14, 45, 24]
    assert (found["img"][0, 0] == 7).all() and (found["img"][-1, -1] == 7).all()
    assert found["gt_labels"].tolist() == [1]
    assert found["gt_bboxes_ignore"].tolist() == [[27, 13, 47, 23]]  # crowds stay boxes


@pytest.mark.parametrize(("shift", "visible"), [(-34, 5), (-35, 0), (40, 5), (41, 0)])
@pytest.mark.parametrize("down", [False, True])
def test_a_cell_is_dropped_when_less_than_the_least_share_is_visible(
    monkeypatch, shift, visible, down
):
    """Of 20 columns (or rows) 5 are a quarter, 4 are less; the frame ends at 0 and at 64."""
    mask = np.zeros((70, 70), bool)
    mask[15:39, 19:39] = True
    mask = np.ascontiguousarray(mask.T) if down else mask
    across, along = (0, shift) if down else (shift, 0)
    warp = RandomWarp((64, 64), 1.0, min_visible=0.25)
    found = fixed(warp, monkeypatch, [[1, 0, across], [0, 1, along]])(sample_of(mask))
    assert found["gt_masks"].areas.tolist() == ([24 * visible] if visible else [])
    assert len(found["gt_labels"]) == len(found["gt_bboxes"]) == len(found["gt_masks"])


def test_the_least_share_is_of_the_area_at_the_new_scale(monkeypatch):
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    for factor in (0.5, 2.0):
        warp = RandomWarp((100, 100), 1.0, min_visible=0.9)
        warp = fixed(warp, monkeypatch, [[factor, 0, 0], [0, -factor, 90]])
        assert len(warp(sample_of(mask))["gt_masks"]) == 1


def test_a_pixel_has_to_be_left(monkeypatch):
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    for shift, count in ((-19, 1), (-20, 0)):
        warp = fixed(
            RandomWarp((30, 30), 1.0, min_visible=0.0), monkeypatch, [[1, 0, shift], [0, 1, 0]]
        )
        assert len(warp(sample_of(mask))["gt_masks"]) == count


def test_cells_that_only_the_displacement_brings_into_the_window_are_there(monkeypatch):
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    for place, shift in (([[1, 0, -22], [0, 1, 0]], (-8, 0)), ([[1, 0, 0], [0, 1, 22]], (0, 8))):
        warp = fixed(RandomWarp((30, 30), 1.0), monkeypatch, place, shift)
        assert warp(sample_of(mask))["gt_masks"].areas.tolist() == [60]


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[1, 0, 0], [0, 1, 0]], [[10, 12, 20, 30]]),
        ([[0, 2, 0.5], [-2, 0, 48.5]], [[24, 10, 50, 30]]),  # turned, clipped at 50
        ([[1, 0, -15], [0, 1, 0]], [[0, 12, 5, 30]]),
        ([[1, 0, -20], [0, 1, 0]], []),
        ([[1, 0, 0], [0, 1, 28]], []),
        ([[1, 0, 0], [0, 1, 27]], [[10, 39, 20, 40]]),
    ],
)
def test_crowd_regions_are_boxes_around_the_moved_ones(matrix, expected):
    warp = RandomWarp((50, 40), 1.0)
    moved = warp._warp_boxes(np.array([[10, 12, 20, 30]], np.float32), np.array(matrix, float))
    assert moved.tolist() == expected
    assert moved.dtype == np.float32


def test_crops_are_resized_with_all_that_is_on_them():
    mask = np.zeros((80, 90), bool)
    mask[20:40, 30:60] = True
    sample = sample_of(mask) | dict(ori_shape=(200, 160, 3))
    found = ResizeToNetwork(network_scale=0.5)(sample)  # 0.5 * 160 / 80
    assert found["img"].shape == found["img_shape"] == (80, 90, 3)
    sample = sample_of(mask) | dict(ori_shape=(240, 160, 3))
    found = ResizeToNetwork(network_scale=1.5)(sample)
    assert found["img"].shape == found["img_shape"] == (240, 270, 3)
    for boxes in (found["gt_bboxes"], found["gt_bboxes_ignore"], found["gt_masks"].get_bboxes()):
        assert boxes.tolist() == [[90, 60, 180, 120]]
    assert (found["gt_masks"].height, found["gt_masks"].width) == (240, 270)
    bright = np.nonzero(found["img"][..., 0] > 100)
    assert [bright[1].min(), bright[0].min(), bright[1].max() + 1, bright[0].max() + 1] == [
        *(90, 60, 180, 120)
    ]
    tiny = ResizeToNetwork(network_scale=1e-4)(sample_of(mask))
    assert tiny["img"].shape == (1, 1, 3)


def test_an_offset_of_the_labels_is_taken_off_before_anything_is_mirrored(monkeypatch):
    """Labels a pixel right of and 2 above the cell; the view is turned over and twice as large."""
    cell, labelled = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    cell[10:20, 15:35] = True
    labelled[8:18, 16:36] = True
    sample = sample_of(labelled) | dict(img=np.where(cell[..., None], 200, 50).astype(np.uint8))
    sample["img"] = np.repeat(sample["img"], 3, axis=2)
    warp = RandomWarp((120, 80), 1.0, label_offset=(1.0, -2.0))
    # pixel edges stay edges: centres at integers move by half a pixel more
    found = fixed(warp, monkeypatch, [[2, 0, 0.5], [0, -2, 78.5]])(sample)
    ys, xs = np.nonzero(found["img"][..., 0] > 125)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert seen == [30, 40, 70, 60]
    assert found["gt_bboxes"].tolist() == [seen]
    assert found["gt_bboxes_ignore"].tolist() == [seen]


def test_an_offset_of_the_labels_is_taken_off_a_crop():
    mask = np.zeros((40, 60), bool)
    mask[0:10, 15:35] = True
    found = ResizeToNetwork(2.0, label_offset=(0.5, -3.0))(sample_of(mask))
    boxes = found["gt_bboxes"], found["gt_bboxes_ignore"], found["gt_masks"].get_bboxes()
    assert [own.tolist() for own in boxes] == [[[29, 6, 69, 26]]] * 3
    outside = ResizeToNetwork(2.0, label_offset=(0.0, 4.0))(sample_of(mask))
    assert (
        outside["gt_bboxes"].tolist()
        == [[30, 0, 70, 12]]
        == [*outside["gt_masks"].get_bboxes().tolist()]
    )


CALM = dict(contrast=(1.0, 1.0), brightness=0.0, blur=0.21, noise=0.0)
STEP = np.full((40, 40, 3), 100, np.uint8)
STEP[:, 20:] = 120


def changed(count: int = 200, **options) -> np.ndarray:
    change = RandomIntensity(mean=110.0, std=10.0, **{**CALM, **options})
    seed_everything(0)
    return np.array([change({"img": STEP.copy()})["img"] for _ in range(count)])


def test_contrast_is_about_the_mean_and_evenly_drawn_on_a_logarithmic_scale():
    images = changed(contrast=(0.5, 2.0))
    steps = images[:, 0, 39, 0] - images[:, 0, 0, 0]
    np.testing.assert_allclose(images[:, 0, 0] + images[:, 0, 39], 220, atol=1e-3)
    assert 10 <= steps.min() < 10.5 and 39 < steps.max() <= 40.01
    assert 0.4 < (steps < 20).mean() < 0.6


def test_brightness_is_shifted_by_a_share_of_the_deviation():
    images = changed(brightness=2.0)
    shift = images[:, 0, 0, 0] - 100
    assert -20.01 <= shift.min() < -19 and 19 < shift.max() <= 20.01
    assert abs(shift.mean()) < 2
    np.testing.assert_allclose(np.ptp(images, axis=(1, 2, 3)), 20, atol=0.01)


def test_half_of_the_images_are_blurred():
    images = changed(blur=3.0)
    slope = images[:, 20, 20, 0] - images[:, 20, 19, 0]  # 20 where nothing is blurred
    sharp = slope > 19.5
    assert 0.4 < sharp.mean() < 0.65
    assert 2.4 < slope.min() < 3.2  # 20 * (a normal distribution's middle pixel of sigma 3)
    np.testing.assert_allclose(images[:, 20, 0], 100, atol=0.01)


def test_half_of_the_images_are_noisy_and_stay_grey():
    images = changed(noise=1.5)
    noise = images[:, :, :15].std(axis=(1, 2, 3))
    assert 0.4 < (noise < 0.01).mean() < 0.6
    assert 13.5 < noise.max() < 15.8
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    assert abs(images.mean() - 110) < 0.5


def test_values_end_at_black_and_white():
    images = changed(contrast=(50.0, 50.0))
    assert (images.min(), images.max()) == (0, 255)


def test_amounts_that_are_not_given():
    change = RandomIntensity(mean=1.0, std=2.0)
    assert (change.contrast, change.brightness, change.blur, change.noise) == (
        *((0.6, 1.6), 0.35, 1.5, 0.35),
    )
    warp = RandomWarp((8, 9), 1.0)
    assert (warp.scale, warp.stretch, warp.rotate) == ((0.8, 1.25), 0.1, True)
    assert (warp.elastic, warp.elastic_sigma) == ((0.0, 1.5), 24)
    assert (warp.min_visible, warp.fill) == (0.2, 128)


@pytest.mark.parametrize("library", ["opencv", "pillow"])
def test_crops_are_resized_as_images_are_in_inference(library):
    sample = sample_of(np.ones((80, 90), bool)) | dict(ori_shape=(80, 90, 3))
    sample["img"] = np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)
    before = sample["img"].copy()
    found = ResizeToNetwork(network_scale=0.5, library=library)(sample)
    np.testing.assert_array_equal(found["img"], resize(before, (45, 40), library))
