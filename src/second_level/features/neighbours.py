"""Features of the instances around an instance: all within a radius, and the nearest ones.

Distances are between the centroids in whole pixels. The reference's columns keep quirks on which
the published model was trained: `kdtree_nb_r*_count` is the number of instances in the image, and
"the instance itself" is dropped from neighbours by position. The columns marked "new" have the true
counts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.spatial import KDTree

from second_level.features.base import FeatureGroup, MeasuredInstances, ratio

RADII = (25, 50, 75, 100, 150, 200)  # pixels
NEAREST = (2, 3, 5, 7)  # the instance itself counts as the first
# Instances at the same place or distance come in the order of the tree's leaves; with this size
# (scikit-learn's default) it is the reference's order.
LEAF_SIZE = 40
CHUNK = 128  # instances whose neighbours are sorted at a time; keeps the arrays in the cache
STATISTICS = tuple(
    f"{statistic}_{quantity}"
    for quantity in ("dist", "area", "box_score")
    for statistic in ("median", "mean", "std")
)
RADIUS = tuple(f"kdtree_nb_r{r}_{name}" for r in RADII for name in ("count", *STATISTICS))
TRUE_COUNT = tuple(f"others_r{r}_count" for r in RADII)  # new
TOP = tuple(f"kdtree_nb_top{k}_{name}" for k in NEAREST for name in STATISTICS)


def radius_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Median, mean and spread of distance, area and score of the instances within a radius.

    -1 without any. The spread of area and score is the sample's (divided by n - 1), NaN for one.
    """
    count = len(measured)
    radii = [r for r in RADII if any(name.startswith(f"kdtree_nb_r{r}_") for name in names)]
    found = {f"kdtree_nb_r{r}_count": np.full(count, count) for r in radii}
    asked = [
        quantity
        for quantity in ("dist", "area", "box_score")
        if any(name.endswith(f"_{quantity}") for name in names)
    ]
    if not asked:
        return found
    first, second, squares = _pairs_within(measured.centroids, max(radii))
    shared = np.unique(first[squares == 0])  # instances that share their place with others
    for quantity in asked:
        values, rank = _ranked(quantity, measured, second, squares)
        tables = np.empty((len(radii), 3, count))
        for start in range(0, count, CHUNK):
            rows = slice(start, min(start + CHUNK, count))
            part = slice(*np.searchsorted(first, (rows.start, rows.stop)))
            owner, position, near = _sorted_triples(first[part] - start, rank[part], squares[part])
            tables[:, :, rows] = _statistics_by_radius(
                owner, values[position], near, radii, rows.stop - start, quantity != "dist"
            )
        for r, table in zip(radii, tables, strict=True):
            if len(shared):
                parts = _after_first_hit(quantity, measured, shared, r)
                table[:, shared] = _segment_statistics(*parts, len(shared), quantity != "dist")
            for name, column in zip(("median", "mean", "std"), table, strict=True):
                found[f"kdtree_nb_r{r}_{name}_{quantity}"] = column
    return found


def _pairs_within(centroids: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of different points within a radius, in both orders, ordered by the first.

    Returns:
        Indices of the points and their squared distance (of whole pixels), int64 [P] each.
    """
    if not len(centroids):
        return (np.zeros(0, np.int64),) * 3
    one, two = KDTree(centroids).query_pairs(radius, output_type="ndarray").T
    first, second = _sorted_pairs(np.concatenate([one, two]), np.concatenate([two, one]))
    x, y = centroids.T.astype(np.int64)
    return first, second, (x[first] - x[second]) ** 2 + (y[first] - y[second]) ** 2


def _ranked(
    quantity: str, measured: MeasuredInstances, second: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All values in increasing order, float64, and the position of each pair's among them."""
    if quantity == "dist":
        return np.sqrt(np.arange(squares.max(initial=0) + 1)), squares
    values = measured.areas if quantity == "area" else measured.instances.scores
    distinct, rank = np.unique(values.astype(np.float64), return_inverse=True)
    return distinct, rank[second]


def _sorted_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of whole numbers below 2**31 by the first, then by the second; int64 [P] each.

    Both go into one integer: NumPy sorts a single array of them 3 to 4 times faster than it sorts
    two arrays together (`lexsort`).
    """
    keys = np.sort(first << 32 | second)
    return keys >> 32, keys & 0xFFFFFFFF


def _sorted_triples(
    owner: np.ndarray, rank: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triples of whole numbers by owner, then rank, then squared distance; int64 [P] each.

    All three go into one integer, for the reason that `_sorted_pairs` gives. It has room: 16 bits
    hold a squared distance up to that of the largest radius (200 * 200 < 2**16), 32 a position
    among the distinct values, and 15 an owner, of whom there are `CHUNK` at most.
    """
    keys = np.sort(owner << 48 | rank << 16 | squares)
    return keys >> 48, keys >> 16 & 0xFFFFFFFF, keys & 0xFFFF


def _statistics_by_radius(
    owner: np.ndarray,
    value: np.ndarray,
    squares: np.ndarray,
    radii: Sequence[int],
    count: int,
    sample: bool,
) -> np.ndarray:
    """Median, mean and standard deviation of each owner's values within each radius.

    Args:
        owner: int64 [P], in increasing order.
        value: float64 [P], in increasing order for each owner.
        squares: int64 [P], squared distance of each value from its owner.
        radii: in increasing order.
        count: number of owners.
        sample: see `_segment_statistics`.

    Returns:
        float64 [radii, 3, count].
    """
    tables = []
    for r in reversed(radii):  # each radius within the one before
        near = squares <= r * r
        owner, squares, value = owner[near], squares[near], value[near]
        tables.append(_segment_statistics(owner, value, count, sample))
    return np.array(tables[::-1])


def _after_first_hit(
    quantity: str, measured: MeasuredInstances, rows: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of instances that share their place with others, as the reference has them.

    It drops "the instance itself" as the first of the hits sorted by distance. Where several are at
    distance 0, NumPy's plain quicksort decides which one that is. `np.argsort` uses it today for
    `longdouble` only (other types are sorted with vector instructions, ties in another order).

    Returns:
        Position in `rows` and value of each neighbour, ordered by both; [P] each.
    """
    parts = []
    for position, row in enumerate(rows):
        distances = np.hypot(*(measured.centroids - measured.centroids[row]).T)
        hits = np.flatnonzero(distances <= radius)
        order = np.argsort(distances[hits].astype(np.longdouble), kind="quicksort")
        kept = hits[order[1:]]
        values = {"dist": distances, "area": measured.areas, "box_score": measured.instances.scores}
        parts.append((np.full(len(kept), position), np.sort(values[quantity][kept])))
    owner, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return owner, value.astype(np.float64)


def _segment_statistics(
    owner: np.ndarray, value: np.ndarray, count: int, sample: bool
) -> np.ndarray:
    """Median, mean and standard deviation of each owner's values, float64 [3, count].

    -1 without any value.

    Args:
        owner: int64 [P], sorted.
        value: float64 [P], sorted within each owner.
        count: number of owners.
        sample: divide by n - 1 instead of n in the deviation, which is then NaN for a single value.
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


def count_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Number of other instances within each radius."""
    radii = [r for r in RADII if f"others_r{r}_count" in names]
    if not len(measured):
        return {name: np.zeros(0) for name in TRUE_COUNT}
    tree = KDTree(measured.centroids)
    counts = {r: tree.query_ball_point(measured.centroids, r, return_length=True) for r in radii}
    return {f"others_r{r}_count": number - 1 for r, number in counts.items()}


def nearest_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Median, mean and spread of distance, area and score of the nearest instances.

    `top5` are the nearest four: one of the five is the instance itself, which is dropped by
    position. Fewer where the image has fewer; NaN without any.
    """
    count, centroids = len(measured), measured.centroids
    tree = KDTree(centroids, leafsize=LEAF_SIZE) if count else None
    found = {}
    for k in NEAREST:
        prefix = f"kdtree_nb_top{k}_"
        if not any(name.startswith(prefix) for name in names):
            continue
        if count < 2:
            found |= {prefix + name: np.full(count, np.nan) for name in STATISTICS}
            continue
        # a query of its own for each k: ties come in another order each time, as in the reference
        distances, neighbours = (hits[:, 1:] for hits in tree.query(centroids, k=min(k, count)))
        for quantity, values in (
            ("dist", distances),
            ("area", measured.areas[neighbours]),
            ("box_score", measured.instances.scores[neighbours].astype(np.float64)),
        ):
            mean = values.mean(axis=1)
            squares = ((values - mean[:, None]) ** 2).sum(axis=1)
            below = values.shape[1] - int(quantity != "dist")
            found[f"{prefix}median_{quantity}"] = np.median(values, axis=1)
            found[f"{prefix}mean_{quantity}"] = mean
            found[f"{prefix}std_{quantity}"] = np.sqrt(ratio(squares, below))
    return found


GROUPS = (
    FeatureGroup(RADIUS, radius_features),
    FeatureGroup(TOP, nearest_features),
    FeatureGroup(TRUE_COUNT, count_features),
)
