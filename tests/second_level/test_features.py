"""Features of the 2nd-level model against reference numbers, and on awkward masks."""

from __future__ import annotations

import warnings
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import DATA

from cells.instances import Instances
from second_level.features.table import FEATURE_NAMES, compute_features

REFERENCE = pd.read_csv(DATA / "features.csv").drop(columns="iou")
SIZE = (60, 80)  # height, width
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference() -> tuple[Instances, np.ndarray]:
    data = np.load(DATA / "instances.npz")
    frames = list(data["mask_probs"] / np.float32(65535))
    instances = Instances(
        image_size=data["image"].shape,
        boxes=data["boxes"],
        scores=data["scores"],
        labels=np.zeros(len(frames), np.int64),
        masks=frames,
        offsets=np.zeros((len(frames), 2), np.int64),
    )
    return instances, np.repeat(data["image"][:, :, None], 3, axis=2)


def cropped(instances: Instances) -> Instances:
    """The same instances with each mask cut to its non-zero part."""
    windows = [cv2.boundingRect((mask > 0).astype(np.uint8)) for mask in instances.masks]
    return replace(
        instances,
        masks=[
            m[y : y + h, x : x + w]
            for m, (x, y, w, h) in zip(instances.masks, windows, strict=True)
        ],
        offsets=np.array([window[:2] for window in windows], np.int64),
    )


def masks_at(*rectangles: tuple[int, int, int, int]) -> Instances:
    """Certain masks that fill rectangles x1 y1 x2 y2."""
    boxes = np.array(rectangles, np.float32).reshape(-1, 4)
    count = len(boxes)
    return Instances(
        image_size=SIZE,
        boxes=boxes,
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        labels=np.arange(count) % 3,
        masks=[np.ones((y2 - y1, x2 - x1), np.float32) for x1, y1, x2, y2 in rectangles],
        offsets=boxes[:, :2].astype(np.int64),
    )


def features(instances: Instances, *names: str) -> pd.DataFrame:
    """Features without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return compute_features(instances, IMAGE, names or FEATURE_NAMES)


@pytest.mark.parametrize("form", [lambda instances: instances, cropped])
def test_every_column_of_the_reference(reference, form):
    instances, image = reference
    table = compute_features(form(instances), image)
    assert len(REFERENCE.columns) == 139
    for name in REFERENCE:
        np.testing.assert_allclose(table[name], REFERENCE[name], 1e-6, 1e-9, err_msg=name)


def test_a_column_alone_is_the_same_and_comes_alone(reference):
    instances, image = reference
    together = compute_features(instances, image)
    for name in FEATURE_NAMES:
        alone = compute_features(instances, image, [name])
        pd.testing.assert_frame_equal(alone, together[[name]])


def test_only_what_is_asked_for_is_computed(reference, monkeypatch):
    instances, image = reference
    monkeypatch.setattr(cv2, "fitEllipse", None)
    monkeypatch.setattr("second_level.features.neighbours.KDTree", None)
    names = ["solidity", "im_mean_pixel", "neighbor_iou_mean"]
    assert list(compute_features(instances, image, names)) == names


def test_names_are_unique_and_unknown_ones_are_refused():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    with pytest.raises(ValueError, match="colour"):
        compute_features(Instances.empty(SIZE), IMAGE, ["width", "colour"])


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="image of"):
        compute_features(Instances.empty((9, 9)), IMAGE)


def test_no_instance():
    table = features(Instances.empty(SIZE))
    assert table.shape == (0, len(FEATURE_NAMES))
    assert (table.dtypes == np.float64).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fewer_instances_than_neighbours_asked_for(count):
    table = features(masks_at(*[(9 * i, 5, 9 * i + 6, 17) for i in range(count)]))
    assert not np.isinf(table.to_numpy()).any()
    assert table["kdtree_nb_top2_mean_dist"].isna().all() == (count == 1)
    assert (table["kdtree_nb_r25_count"] == count).all()
    assert (table["others_r200_count"] == count - 1).all()


def test_one_instance_alone():
    row = features(masks_at((10, 20, 16, 32))).iloc[0]
    assert row["mask_area"] == 72
    assert row["neighbor_iou_max"] == row["neighbor_iou_min"] == row["neighbor_iou_mean"] == 1
    assert row["neighbor_iou_std"] == 0
    assert row["kdtree_nb_r200_mean_dist"] == row["kdtree_nb_r200_std_area"] == -1
    assert row["others_iou_max"] == row["others_overlap_count"] == 0
    assert (row["centroid_x"], row["centroid_y"]) == (12, 25)


def test_spread_of_a_single_neighbour_is_missing():
    table = features(masks_at((0, 0, 6, 6), (10, 0, 16, 6)))
    assert table["kdtree_nb_r25_std_area"].isna().all()
    assert (table["kdtree_nb_r25_std_dist"] == 0).all()
    assert table["kdtree_nb_top7_std_box_score"].isna().all()


AWKWARD = {
    "one pixel": masks_at((7, 9, 8, 10)),
    "a row": masks_at((7, 9, 27, 10)),
    "a column": masks_at((7, 9, 8, 29)),
    "corners": masks_at((0, 0, 5, 5), (75, 55, 80, 60), (0, 59, 1, 60)),
    "the whole image": masks_at((0, 0, 80, 60)),
    "twice the same": masks_at((5, 5, 15, 15), (5, 5, 15, 15), (5, 5, 15, 15)),
    "box without extent": replace(masks_at((5, 5, 15, 15)), boxes=np.full((1, 4), 5, np.float32)),
    "nothing in the mask": replace(masks_at((5, 5, 9, 9)), masks=[np.zeros((4, 4), np.float32)]),
    "nothing above 0.5": replace(masks_at((5, 5, 9, 9)), masks=[np.full((4, 4), 0.4, np.float32)]),
    "an empty crop": replace(masks_at((5, 5, 9, 9)), masks=[np.zeros((0, 0), np.float32)]),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_masks_give_numbers_or_missing_values(name):
    lone = AWKWARD[name]
    table = features(lone)
    assert not np.isinf(table.to_numpy()).any()
    with_others = masks_at(*[(20 + 12 * i, 30, 30 + 12 * i, 50) for i in range(4)])
    together = Instances(
        SIZE,
        *(
            np.concatenate([getattr(lone, field), getattr(with_others, field)])
            for field in ("boxes", "scores", "labels")
        ),
        [*lone.masks, *with_others.masks],
        np.concatenate([lone.offsets, with_others.offsets]),
    )
    assert not np.isinf(features(together).to_numpy()).any()


def test_a_mask_in_pieces_is_measured_by_its_largest_piece():
    mask = np.zeros((10, 30), np.float32)
    mask[2:4, 2:4], mask[:, 12:24] = 1, 1
    row = features(replace(masks_at((5, 5, 35, 15)), masks=[mask])).iloc[0]
    assert row["num_contours"] == 2
    assert row["mask_area"] == 124
    assert (row["centroid_x"], row["hull_area"]) == (5 + 17, 9 * 11)


def test_overlap_without_itself():
    table = features(masks_at((0, 0, 10, 10), (5, 0, 15, 10), (40, 40, 50, 50)))
    assert table["others_iou_max"].tolist() == pytest.approx([1 / 3, 1 / 3, 0])
    assert table["others_cover_max"].tolist() == [0.5, 0.5, 0]
    assert table["better_cover_max"].tolist() == [0, 0.5, 0]  # the first has the highest score
    assert table["others_overlap_count"].tolist() == [1, 1, 0]
    assert table["neighbor_overlap_count"].tolist() == [2, 2, 1]


def test_true_counts_by_radius():
    table = features(masks_at((0, 0, 3, 3), (20, 0, 23, 3), (60, 0, 63, 3)))
    assert table["others_r25_count"].tolist() == [1, 1, 0]
    assert table["others_r50_count"].tolist() == [1, 2, 1]


def test_contrast_across_the_border():
    image = np.full((*SIZE, 3), 100, np.uint8)
    image[20:40, 20:40] = 160
    table = compute_features(
        masks_at((20, 20, 40, 40)), image, ["border_contrast", "rim_mean_pixel"]
    )
    assert table.iloc[0].tolist() == [60, 160]


def test_certainty():
    sure, unsure = np.ones((8, 8), np.float32), np.full((8, 8), 0.6, np.float32)
    instances = replace(masks_at((0, 0, 8, 8), (20, 20, 28, 28)), masks=[sure, unsure])
    table = features(instances, "mask_mean_score", "mask_stability", "mask_entropy")
    assert table["mask_mean_score"].tolist() == pytest.approx([1, 0.6])
    assert table["mask_stability"].tolist() == [1, 0]
    assert table["mask_entropy"].tolist() == pytest.approx([0, 0.971], abs=1e-3)


def test_neighbour_statistics_against_brute_force():
    rng = np.random.default_rng(1)
    corners = rng.integers(0, (70, 50), (40, 2))
    instances = masks_at(
        *[(x, y, x + 3 + i % 5, y + 4) for i, (x, y) in enumerate(corners.tolist())]
    )
    table = features(instances)
    centroids = table[["centroid_x", "centroid_y"]].to_numpy()
    distances = np.hypot(*(centroids[:, None] - centroids).transpose(2, 0, 1))
    np.fill_diagonal(distances, np.nan)
    alone = (np.nanmin(distances, axis=1) > 0).nonzero()[0]  # no other at the same place
    assert len(alone) > 20
    for i in alone:
        near = distances[i] <= 25
        areas = table["mask_area"][near]
        if near.any():
            assert table["kdtree_nb_r25_median_area"][i] == areas.median()
            assert table["kdtree_nb_r25_mean_area"][i] == pytest.approx(areas.mean())
            assert table["kdtree_nb_r25_std_dist"][i] == pytest.approx(distances[i][near].std())
            spread = table["kdtree_nb_r25_std_area"][i]
            assert spread == pytest.approx(areas.std(), nan_ok=True)
