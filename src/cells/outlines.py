"""Outlines of masks along the edges of pixels: polygons that enclose exactly the mask's area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pixel_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """All rings around the foreground, those of holes included.

    Pixel (0, 0) is the square from (0, 0) to (1, 1). Rings are simple: where pixels touch only at
    a corner, rings touch there, too. The foreground is on the right (y points down), so that
    `signed_area` is positive for the outside of a piece and negative for a hole; the areas add up
    to the number of foreground pixels.

    Args:
        mask: bool [h, w].

    Returns:
        Rings int64 [N, 2] of corners x, y, without the first point again at the end.
    """
    points, across, down, outside = _corners(mask)
    rings = []
    visited = np.zeros(len(points), bool)
    for start in range(len(points)):
        if visited[start]:
            continue
        ring: list[int] = []
        here = start
        while not ring or here != start:
            ring += [here, across[here]]
            here = down[across[here]]
        visited[ring] = True
        # From its first corner in reading order a ring goes to the right: right for an outside.
        traced = [points[i] for i in (ring if outside[start] else ring[::-1])]
        rings += [np.array(simple, np.int64) for simple in _split(traced)]
    return rings


def _corners(mask: np.ndarray) -> tuple[list[tuple[int, int]], list[int], list[int], list[bool]]:
    """Corners of all outlines in reading order, and how straight pieces of outline connect them.

    In a row of the grid's points, the corners are ends of horizontal pieces in turn: first with
    second, third with fourth ... and so it is in a column. A point where two pixels touch
    diagonally is two corners, one of each pixel.

    Returns:
        Points (x, y), the other end of each one's horizontal piece and of its vertical piece, and
        whether the pixel to the lower right is foreground.
    """
    padded = np.pad(mask, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    touching = (upper_left == lower_right) & (upper_right == lower_left)
    touching &= upper_left != upper_right
    turning = upper_left ^ upper_right ^ lower_left ^ lower_right
    y, x = np.nonzero(turning | touching)
    copies = 1 + touching[y, x]
    y, x = np.repeat(y, copies), np.repeat(x, copies)
    number = np.arange(len(y))  # of two at a point, the first one goes to the left
    # The pixel on the upper right has its corner's pieces to the right and upwards.
    order = np.lexsort((np.where(upper_right[y, x], -number, number), y, x))
    down = np.empty(len(y), np.int64)
    down[order[0::2]], down[order[1::2]] = order[1::2], order[0::2]
    across = number ^ 1
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    return points, across.tolist(), down.tolist(), lower_right[y, x].tolist()


def _split(ring: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Cut a ring that comes to a point again into rings that do not."""
    if len(set(ring)) == len(ring):
        return [ring]
    rings: list[list[tuple[int, int]]] = []
    path: list[tuple[int, int]] = []
    position: dict[tuple[int, int], int] = {}
    for point in ring:
        if point in position:
            loop = path[position[point] :]
            rings.append(loop)
            for other in loop:
                del position[other]
            del path[-len(loop) :]
        position[point] = len(path)
        path.append(point)
    return [*rings, path]


def signed_area(ring: np.ndarray) -> float:
    """Pixels that a ring [N, 2] encloses; negative for the ring of a hole."""
    x, y = ring.T.astype(np.float64)
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def to_polygons(rings: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Sort the rings of `pixel_outlines` into pieces: each outside ring, followed by its holes."""
    areas = [signed_area(ring) for ring in rings]
    pieces = [[ring] for ring, area in zip(rings, areas, strict=True) if area > 0]
    for hole in (ring for ring, area in zip(rings, areas, strict=True) if area < 0):
        # a piece may lie in a hole of another: the smallest piece around the hole is its own
        around = [piece for piece in pieces if len(pieces) == 1 or _encloses(piece[0], hole)]
        min(around, key=lambda piece: signed_area(piece[0])).append(hole)
    return pieces


def _encloses(ring: np.ndarray, hole: np.ndarray) -> bool:
    """Whether the upper left pixel of a hole lies within a ring (crossings to its left are odd)."""
    x, y = hole[np.lexsort((hole[:, 0], hole[:, 1]))[0]] + 0.5
    start, stop = ring, np.roll(ring, -1, axis=0)
    low, high = np.minimum(start[:, 1], stop[:, 1]), np.maximum(start[:, 1], stop[:, 1])
    return bool(((low < y) & (y < high) & (start[:, 0] < x)).sum() % 2)
