"""Pixels within outlines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cells.masks import Crop, tight_crop

LARGEST = 1e9  # of a coordinate


def fill(pieces: Sequence[Sequence[np.ndarray]], image_size: tuple[int, int]) -> Crop:
    """The pixels whose centres lie in any of the pieces.

    Inverts `cells.outlines.pixel_outlines`: pixel (0, 0) is the square from (0, 0) to (1, 1).

    Args:
        pieces: each a list of closed rings, float [N, 2] x, y, by the even-odd rule: a ring within
            another is a hole. The first point may be repeated at the end.
        image_size: (height, width); what reaches beyond the image is cut off.

    Returns:
        The mask in its tight box.

    Raises:
        ValueError: a ring has no three points or no finite ones, or no pixel is inside.
    """
    checked = [[_checked(ring) for ring in rings] for rings in pieces]
    points = [ring for rings in checked for ring in rings]
    if not points:
        raise ValueError("it has no outline")
    height, width = image_size
    low = np.floor(np.min([ring.min(axis=0) for ring in points], axis=0)).clip(0, (width, height))
    high = np.ceil(np.max([ring.max(axis=0) for ring in points], axis=0)).clip(0, (width, height))
    (left, top), (right, bottom) = low.astype(int), high.astype(int)
    mask = np.zeros((bottom - top, right - left), bool)
    for rings in checked:
        mask |= _inside([ring - (left, top) for ring in rings], mask.shape)
    crop = tight_crop(mask, (left, top))
    if not crop.mask.size:
        raise ValueError("it covers no pixel of the image")
    return crop


def _checked(ring: np.ndarray) -> np.ndarray:
    ring = np.asarray(ring, np.float64)
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3:
        raise ValueError("its outline needs three points x, y or more")
    if not (np.abs(ring) < LARGEST).all():
        raise ValueError("its outline has points that are not finite")
    return ring


def _inside(rings: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Where a ray from the left to the pixel's centre crosses the rings an odd number of times."""
    start = np.concatenate(rings)
    stop = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # rows whose centres an edge passes; a centre on its upper end counts, on its lower does not
    first = np.ceil(np.minimum(start[:, 1], stop[:, 1]) - 0.5).clip(0, shape[0]).astype(np.int64)
    last = np.ceil(np.maximum(start[:, 1], stop[:, 1]) - 0.5).clip(0, shape[0]).astype(np.int64)
    counts = last - first
    edge = np.repeat(np.arange(len(start)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - first, counts)
    slope = (stop - start)[edge]
    x = start[edge, 0] + (rows + 0.5 - start[edge, 1]) * slope[:, 0] / slope[:, 1]
    columns = np.ceil(x - 0.5).clip(0, shape[1]).astype(np.int64)
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(crossings, (rows, columns), 1)
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
