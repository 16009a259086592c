"""Masks as crops: cutting, pasting, outlines, and label images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from cells.instances import Instances

MASK_THRESHOLD = 0.5  # a pixel is foreground when its probability is at least this


class Crop(NamedTuple):
    """The part of a mask that matters, and where it lies.

    Attributes:
        mask: bool [h, w].
        offset: x, y of its top left pixel in the image.
    """

    mask: np.ndarray
    offset: tuple[int, int]


def tight_crop(mask: np.ndarray, offset: Sequence[int] = (0, 0)) -> Crop:
    """Cut away the empty margins of a mask.

    Args:
        mask: bool [h, w].
        offset: x, y of its top left pixel.

    Returns:
        The mask within its tight box. Without foreground it has shape [0, 0] and stays at `offset`.
    """
    # OpenCV answers (0, 0, 0, 0) where there is no foreground, but refuses an array of no pixels
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8)) if mask.size else (0, 0, 0, 0)
    return Crop(mask[y : y + h, x : x + w], (int(offset[0]) + x, int(offset[1]) + y))


def window_of(mask: np.ndarray, offset: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of the image that a crop [h, w] at the offset (x, y) covers."""
    x, y = offset
    height, width = mask.shape
    return slice(y, y + height), slice(x, x + width)


def find_outlines(
    mask: np.ndarray, offset: Sequence[int] = (0, 0), all_points: bool = False
) -> list[np.ndarray]:
    """Outer contours of a mask's pieces, through the centres of their outermost pixels.

    Args:
        mask: bool or uint8 [h, w].
        offset: x, y of its top left pixel.
        all_points: keep the points in the middle of straight lines.

    Returns:
        Contours in pixels of the image, int32 [K, 1, 2] (x, y) as OpenCV has them, the piece of
        the largest area first.
    """
    if not mask.size:
        return []
    pieces, _ = cv2.findContours(
        np.ascontiguousarray(mask).view(np.uint8),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_NONE if all_points else cv2.CHAIN_APPROX_SIMPLE,
        offset=(int(offset[0]), int(offset[1])),
    )
    return sorted(pieces, key=cv2.contourArea, reverse=True)


def binary_crops(instances: Instances, threshold: float = MASK_THRESHOLD) -> list[np.ndarray]:
    """Foreground of each crop, N boolean arrays [h, w]."""
    return [mask >= threshold for mask in instances.masks]


def drawn_at(instances: Instances, threshold: float) -> Instances:
    """The instances with probabilities moved so that what reached `threshold` is foreground.

    0 and 1 stay what they are, and the order of the probabilities, too: they are stretched below
    and above the threshold.
    """
    if threshold == MASK_THRESHOLD:
        return instances
    return replace(instances, masks=[_stretched(mask, threshold) for mask in instances.masks])


def _stretched(mask: np.ndarray, threshold: float) -> np.ndarray:
    """Map 0, `threshold`, 1 to 0, MASK_THRESHOLD, 1, linear between them; float32."""
    limit, middle = np.float32(threshold), np.float32(MASK_THRESHOLD)
    below = np.minimum(mask * (middle / limit), np.nextafter(middle, np.float32(0)))
    above = middle + (mask - limit) * ((1 - middle) / (1 - limit))
    return np.where(mask < limit, below, np.minimum(above, np.float32(1)))


def paste(crop: np.ndarray, offset: Sequence[int], image_size: tuple[int, int]) -> np.ndarray:
    """Put one crop [h, w] into a zero frame [height, width] of the same dtype."""
    frame = np.zeros(image_size, crop.dtype)
    frame[window_of(crop, offset)] = crop
    return frame


def label_image(instances: Instances, threshold: float = MASK_THRESHOLD) -> np.ndarray:
    """Resolve overlaps: each pixel belongs to the instance of the highest score that covers it.

    Returns:
        int32 [height, width]: 0 background, i + 1 for instance i.
    """
    labels = np.zeros(instances.image_size, np.int32)
    crops = binary_crops(instances, threshold)
    for i in np.argsort(-instances.scores, kind="stable")[::-1]:
        labels[window_of(crops[i], instances.offsets[i])][crops[i]] = i + 1
    return labels


def visible_crops(instances: Instances, threshold: float = MASK_THRESHOLD) -> list[np.ndarray]:
    """What `label_image` shows of each instance, without a frame: N boolean arrays [h, w].

    Pixels that an instance of a higher score covers (or an earlier one of the same score) are
    False. An instance that is covered completely has an empty crop.
    """
    crops = binary_crops(instances, threshold)
    visible = list(crops)
    sizes = np.array([crop.shape[::-1] for crop in crops], np.int64).reshape(-1, 2)
    low, high = instances.offsets, instances.offsets + sizes
    rank = np.empty(len(crops), np.int64)
    rank[np.argsort(-instances.scores, kind="stable")] = np.arange(len(crops))
    by_left = np.argsort(low[:, 0], kind="stable")
    lefts = low[by_left, 0]
    widest = sizes[:, 0].max(initial=0)
    for i in range(len(crops)):
        # only instances that begin less than the widest one's width to the left can reach i
        first, last = np.searchsorted(lefts, (low[i, 0] - widest, high[i, 0]))
        others = by_left[first:last]
        meets = (low[others] < high[i]).all(axis=1) & (high[others] > low[i]).all(axis=1)
        better = others[meets & (rank[others] < rank[i])]
        if len(better):
            visible[i] = crops[i].copy()  # others are cut by the whole of it
        for j in better:
            start, stop = np.maximum(low[i], low[j]), np.minimum(high[i], high[j])
            mine = tuple(slice(a, b) for a, b in zip(start - low[i], stop - low[i], strict=True))
            theirs = tuple(slice(a, b) for a, b in zip(start - low[j], stop - low[j], strict=True))
            visible[i][mine[::-1]] &= ~crops[j][theirs[::-1]]
    return visible
