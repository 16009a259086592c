"""Features of how an instance's mask overlaps those of the image.

In the reference's columns the IoU of 1 of an instance with itself is in the statistics, on which
the published model was trained. The columns marked "new" leave it out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from second_level.features.base import FeatureGroup, MeasuredInstances, ratio

WITH_ITSELF = (
    *(f"neighbor_iou_{name}" for name in ("max", "min", "mean", "std")),
    "neighbor_overlap_count",
)
OTHERS = (
    "others_overlap_count",
    "others_iou_max",
    "others_iou_mean",
    "others_cover_max",
    "better_cover_max",
)  # new


@dataclass(frozen=True)
class Overlaps:
    """Pairs of instances that share pixels, each pair in both orders.

    Attributes:
        first, second: int64 [P], indices of the instances.
        pixels: int64 [P], number of shared pixels.
        iou: float64 [P].
    """

    first: np.ndarray
    second: np.ndarray
    pixels: np.ndarray
    iou: np.ndarray


def find_overlaps(measured: MeasuredInstances) -> Overlaps:
    """Compare the masks whose boxes overlap, within the common part of the boxes."""
    one, two = _overlapping_boxes(measured.extents)
    x1, y1 = np.maximum(measured.extents[one, :2], measured.extents[two, :2]).T.tolist()
    x2, y2 = np.minimum(measured.extents[one, 2:], measured.extents[two, 2:]).T.tolist()
    origins = measured.extents[:, :2].tolist()

    def part(i: int, k: int) -> np.ndarray:
        left, top = origins[i]
        return measured.masks[i][y1[k] - top : y2[k] - top, x1[k] - left : x2[k] - left]

    pixels = np.array(
        [
            np.count_nonzero(part(i, k) & part(j, k))
            for k, (i, j) in enumerate(zip(one.tolist(), two.tolist(), strict=True))
        ],
        np.int64,
    )
    shared = pixels > 0
    one, two, pixels = one[shared], two[shared], pixels[shared]
    iou = pixels / (measured.areas[one] + measured.areas[two] - pixels)
    return Overlaps(
        np.concatenate([one, two]), np.concatenate([two, one]), np.tile(pixels, 2), np.tile(iou, 2)
    )


def _overlapping_boxes(extents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of boxes x1 y1 x2 y2 that overlap, each pair once, by a sweep from left to right."""
    order = np.argsort(extents[:, 0], kind="stable")
    x1, y1, x2, y2 = extents[order].T
    # boxes that come after box i and begin before it ends
    counts = np.maximum(np.searchsorted(x1, x2, side="left") - np.arange(len(x1)) - 1, 0)
    first = np.repeat(np.arange(len(x1)), counts)
    starts = np.cumsum(counts) - counts
    second = first + 1 + np.arange(len(first)) - np.repeat(starts, counts)
    overlap = (y1[first] < y2[second]) & (y1[second] < y2[first])
    return order[first[overlap]], order[second[overlap]]


def overlap_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Overlap of a mask with those of the image: with itself among them, and without."""
    overlaps = find_overlaps(measured)
    return {**_with_itself(measured, overlaps), **_with_others(measured, overlaps)}


def _with_itself(measured: MeasuredInstances, overlaps: Overlaps) -> dict[str, np.ndarray]:
    """Statistics of a mask's IoU with all masks of the image, itself among them."""
    count = len(measured)
    with_itself = (measured.areas > 0).astype(np.float64)
    partners = np.bincount(overlaps.first, minlength=count) + with_itself
    mean, square = (
        ratio(np.bincount(overlaps.first, overlaps.iou**p, count) + with_itself, count)
        for p in (1, 2)
    )
    # only in images of very few instances does one of them overlap with all others
    least = with_itself.copy()
    np.minimum.at(least, overlaps.first, overlaps.iou)
    return {
        "neighbor_iou_max": with_itself,
        "neighbor_iou_min": np.where(partners == count, least, 0.0),
        "neighbor_iou_mean": mean,
        "neighbor_iou_std": np.sqrt(np.maximum(square - mean**2, 0)),
        "neighbor_overlap_count": partners,
    }


def _with_others(measured: MeasuredInstances, overlaps: Overlaps) -> dict[str, np.ndarray]:
    """Overlap with other instances: how many, largest and mean IoU (0 without any).

    `others_cover_max` is the largest share of the mask's own pixels that one other mask covers,
    `better_cover_max` the same among those of a higher score.
    """
    count = len(measured)
    scores = measured.instances.scores
    cover = overlaps.pixels / measured.areas[overlaps.first]
    better = scores[overlaps.second] > scores[overlaps.first]
    partners = np.bincount(overlaps.first, minlength=count)
    largest, covered, covered_by_better = np.zeros((3, count))
    np.maximum.at(largest, overlaps.first, overlaps.iou)
    np.maximum.at(covered, overlaps.first, cover)
    np.maximum.at(covered_by_better, overlaps.first[better], cover[better])
    total = np.bincount(overlaps.first, overlaps.iou, count)
    return {
        "others_overlap_count": partners,
        "others_iou_max": largest,
        "others_iou_mean": total / np.maximum(partners, 1),
        "others_cover_max": covered,
        "better_cover_max": covered_by_better,
    }


GROUPS = (FeatureGroup((*WITH_ITSELF, *OTHERS), overlap_features),)
