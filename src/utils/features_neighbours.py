"""Features of the instances around an instance: overlaps, all within a radius, the nearest ones.

Distances are between the centroids in whole pixels. The reference's columns keep two quirks on
which the published model was trained: the IoU of 1 of an instance with itself is in the statistics,
and `kdtree_nb_r*_count` is the number of instances in the image. The columns marked "new" have the
true values.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from utils.features_cells import Cells, FeatureGroup, ratio

RADII = (25, 50, 75, 100, 150, 200)  # pixels
NEAREST = (2, 3, 5, 7)  # the instance itself counts as the first
# Instances at the same place or distance come in the order of the tree's leaves; with this size
# (scikit-learn's default) it is the reference's order.
LEAF_SIZE = 40
STATISTICS = tuple(
    f"{statistic}_{quantity}"
    for quantity in ("dist", "area", "box_score")
    for statistic in ("median", "mean", "std")
)
OVERLAP = tuple(f"neighbor_iou_{name}" for name in ("max", "min", "mean", "std"))
OVERLAP = (*OVERLAP, "neighbor_overlap_count")
OTHERS = (
    "others_overlap_count",
    "others_iou_max",
    "others_iou_mean",
    "others_cover_max",
    "better_cover_max",
)  # new
RADIUS = tuple(f"kdtree_nb_r{r}_{name}" for r in RADII for name in ("count", *STATISTICS))
TRUE_COUNT = tuple(f"others_r{r}_count" for r in RADII)  # new
TOP = tuple(f"kdtree_nb_top{k}_{name}" for k in NEAREST for name in STATISTICS)


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


def find_overlaps(cells: Cells) -> Overlaps:
    """Compare the masks whose boxes overlap, within the common part of the boxes."""
    one, two = _overlapping_boxes(cells.extents)
    x1, y1 = np.maximum(cells.extents[one, :2], cells.extents[two, :2]).T.tolist() or ([], [])
    x2, y2 = np.minimum(cells.extents[one, 2:], cells.extents[two, 2:]).T.tolist() or ([], [])
    origins = cells.extents[:, :2].tolist()

    def part(i: int, k: int) -> np.ndarray:
        left, top = origins[i]
        return cells.masks[i][y1[k] - top : y2[k] - top, x1[k] - left : x2[k] - left]

    pixels = np.array(
        [
            np.count_nonzero(part(i, k) & part(j, k))
            for k, (i, j) in enumerate(zip(one.tolist(), two.tolist(), strict=True))
        ],
        np.int64,
    )
    shared = pixels > 0
    one, two, pixels = one[shared], two[shared], pixels[shared]
    iou = pixels / (cells.areas[one] + cells.areas[two] - pixels)
    return Overlaps(
        np.concatenate([one, two]), np.concatenate([two, one]), np.tile(pixels, 2), np.tile(iou, 2)
    )


def _overlapping_boxes(extents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of boxes x1 y1 x2 y2 that overlap, each pair once, by a sweep from left to right."""
    order = np.argsort(extents[:, 0], kind="stable")
    x1, y1, x2, y2 = extents[order].T
    # those that begin before box i ends, and come after it
    counts = np.maximum(np.searchsorted(x1, x2, side="left") - np.arange(len(x1)) - 1, 0)
    first = np.repeat(np.arange(len(x1)), counts)
    starts = np.cumsum(counts) - counts
    second = first + 1 + np.arange(len(first)) - np.repeat(starts, counts)
    overlap = (y1[first] < y2[second]) & (y1[second] < y2[first])
    return order[first[overlap]], order[second[overlap]]


def overlap_features(cells: Cells, names: Collection[str]) -> dict[str, np.ndarray]:
    """Overlap of a mask with those of the image: with itself among them, and without."""
    overlaps = find_overlaps(cells)
    return {**_with_itself(cells, overlaps), **_with_others(cells, overlaps)}


def _with_itself(cells: Cells, overlaps: Overlaps) -> dict[str, np.ndarray]:
    """Statistics of a mask's IoU with all masks of the image, itself among them."""
    count = len(cells)
    with_itself = (cells.areas > 0).astype(np.float64)
    partners = np.bincount(overlaps.first, minlength=count) + with_itself
    mean, square = (
        ratio(np.bincount(overlaps.first, overlaps.iou**p, count) + with_itself, count)
        for p in (1, 2)
    )
    # nobody overlaps with all but in images of very few instances
    least = with_itself.copy()
    np.minimum.at(least, overlaps.first, overlaps.iou)
    return {
        "neighbor_iou_max": with_itself,
        "neighbor_iou_min": np.where(partners == count, least, 0.0),
        "neighbor_iou_mean": mean,
        "neighbor_iou_std": np.sqrt(np.maximum(square - mean**2, 0)),
        "neighbor_overlap_count": partners,
    }


def _with_others(cells: Cells, overlaps: Overlaps) -> dict[str, np.ndarray]:
    """Overlap with other instances: how many, largest and mean IoU (0 without any).

    `others_cover_max` is the largest share of the mask's own pixels that one other mask covers,
    `better_cover_max` the same among those of a higher score.
    """
    count = len(cells)
    scores = cells.instances.scores
    cover = overlaps.pixels / cells.areas[overlaps.first]
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


def radius_features(cells: Cells, names: Collection[str]) -> dict[str, np.ndarray]:
    """Median, mean and spread of distance, area and score of the instances within a radius.

    -1 without any; the spread of area and score has n - 1 below the line, and is NaN for one.
    """
    count = len(cells)
    radii = [r for r in RADII if any(name.startswith(f"kdtree_nb_r{r}_") for name in names)]
    found = {f"kdtree_nb_r{r}_count": np.full(count, count) for r in radii}
    asked = [
        quantity
        for quantity in ("dist", "area", "box_score")
        if any(name.endswith(f"_{quantity}") for name in names)
    ]
    if not asked:
        return found
    first, second = _pairs_within(cells.centroids, max(radii))
    same = (cells.centroids[first] == cells.centroids[second]).all(axis=1)
    shared = np.unique(first[same])  # instances that are not the only one at their place
    for quantity in asked:
        owner, distance, value = _ordered_by(quantity, cells, first, second)
        for r in radii:
            near = distance <= r
            spread_of_sample = quantity != "dist"
            table = _segment_statistics(owner[near], value[near], count, spread_of_sample)
            if len(shared):
                parts = _after_first_hit(quantity, cells, shared, r)
                table[:, shared] = _segment_statistics(*parts, len(shared), spread_of_sample)
            for name, column in zip(("median", "mean", "std"), table, strict=True):
                found[f"kdtree_nb_r{r}_{name}_{quantity}"] = column
    return found


def _pairs_within(centroids: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of different points within a radius, in both orders, int64 [P] each."""
    if not len(centroids):
        return (np.zeros(0, np.int64),) * 2
    pairs = KDTree(centroids).query_pairs(radius, output_type="ndarray")
    return np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])


def _after_first_hit(
    quantity: str, cells: Cells, rows: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of instances that share their place with others, as the reference has them.

    It drops "the instance itself" as the first of the hits sorted by distance. Where there are more
    at distance 0, NumPy's plain quicksort decides which one that is. `np.argsort` uses it today for
    `longdouble` only (other types are sorted with vector instructions, ties in another order).

    Returns:
        Position in `rows` and value of each neighbour, ordered by both; [P] each.
    """
    parts = []
    for position, row in enumerate(rows):
        distances = np.hypot(*(cells.centroids - cells.centroids[row]).T)
        hits = np.flatnonzero(distances <= radius)
        order = np.argsort(distances[hits].astype(np.longdouble), kind="quicksort")
        kept = hits[order[1:]]
        values = {"dist": distances, "area": cells.areas, "box_score": cells.instances.scores}
        parts.append((np.full(len(kept), position), np.sort(values[quantity][kept])))
    owner, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return owner, value.astype(np.float64)


def _ordered_by(
    quantity: str, cells: Cells, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Owner, distance and value of each pair, ordered by owner and then by value.

    Sorting one whole number that holds both is several times faster than `np.lexsort`.
    """
    distances = np.hypot(*(cells.centroids[first] - cells.centroids[second]).T)
    if quantity == "dist":
        squares = np.rint(distances**2).astype(np.int64)  # of whole pixels
        base = int(squares.max(initial=0)) + 1
        keys = np.sort(first * base + squares)
        distances = np.sqrt(keys % base)
        return keys // base, distances, distances
    values = (cells.areas if quantity == "area" else cells.instances.scores).astype(np.float64)
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    keys = np.sort(first * len(order) + rank[second])
    owner, neighbour = keys // max(len(order), 1), order[keys % max(len(order), 1)]
    distances = np.hypot(*(cells.centroids[owner] - cells.centroids[neighbour]).T)
    return owner, distances, values[neighbour]


def _segment_statistics(
    owner: np.ndarray, value: np.ndarray, count: int, sample: bool
) -> np.ndarray:
    """Median, mean and standard deviation of each owner's values, float64 [3, count].

    -1 without any value.

    Args:
        owner: int64 [P], sorted.
        value: float64 [P], sorted within each owner.
        count: number of owners.
        sample: n - 1 below the line of the deviation, which is then NaN for a single value.
    """
    number = np.bincount(owner, minlength=count)
    some = number > 0
    start = (np.cumsum(number) - number)[some]
    table = np.full((3, count), -1.0)
    median, mean, spread = table
    median[some] = (value[start + (number[some] - 1) // 2] + value[start + number[some] // 2]) / 2
    mean[some] = np.bincount(owner, value, count)[some] / number[some]
    squares = np.bincount(owner, (value - mean[owner]) ** 2, count)
    spread[some] = np.sqrt(ratio(squares[some], number[some] - int(sample)))
    return table


def count_features(cells: Cells, names: Collection[str]) -> dict[str, np.ndarray]:
    """Number of other instances within each radius."""
    radii = [r for r in RADII if f"others_r{r}_count" in names]
    first, second = _pairs_within(cells.centroids, max(radii))
    distances = np.hypot(*(cells.centroids[first] - cells.centroids[second]).T)
    return {
        f"others_r{r}_count": np.bincount(first[distances <= r], minlength=len(cells))
        for r in radii
    }


def nearest_features(cells: Cells, names: Collection[str]) -> dict[str, np.ndarray]:
    """Median, mean and spread of distance, area and score of the nearest instances.

    `top5` are the nearest four: one of the five is the instance itself, which is dropped by
    position. Fewer where the image has fewer; NaN without any.
    """
    count, centroids = len(cells), cells.centroids
    tree = KDTree(centroids, leafsize=LEAF_SIZE) if count else None
    found = {}
    for k in NEAREST:
        prefix = f"kdtree_nb_top{k}_"
        if not any(name.startswith(prefix) for name in names):
            continue
        if count < 2:
            found |= {prefix + name: np.full(count, np.nan) for name in STATISTICS}
            continue
        # for each k anew: in the reference, ties come in another order for each k
        distances, neighbours = (hits[:, 1:] for hits in tree.query(centroids, k=min(k, count)))
        for quantity, values in (
            ("dist", distances),
            ("area", cells.areas[neighbours]),
            ("box_score", cells.instances.scores[neighbours].astype(np.float64)),
        ):
            mean = values.mean(axis=1)
            squares = ((values - mean[:, None]) ** 2).sum(axis=1)
            below = values.shape[1] - int(quantity != "dist")
            found[f"{prefix}median_{quantity}"] = np.median(values, axis=1)
            found[f"{prefix}mean_{quantity}"] = mean
            found[f"{prefix}std_{quantity}"] = np.sqrt(ratio(squares, below))
    return found


GROUPS = (
    FeatureGroup((*OVERLAP, *OTHERS), overlap_features),
    FeatureGroup(RADIUS, radius_features),
    FeatureGroup(TOP, nearest_features),
    FeatureGroup(TRUE_COUNT, count_features),
)
