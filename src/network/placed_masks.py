"""Masks at places of an image, compared without anything of the size of the image.

A place is a `Window` of the image, a mask bool of its size.
"""

from __future__ import annotations

import numpy as np

from cells.instances import Instances
from cells.masks import tight_crop
from cells.readers.volume import Window


def place_of(instances: Instances, index: int) -> Window:
    """Where an instance's crop lies."""
    (height, width), (x, y) = instances.masks[index].shape, instances.offsets[index].tolist()
    return Window(y, y + height, x, x + width)


def lies_inside(place: Window, other: Window) -> bool:
    """Whether no pixel of a place is outside of another."""
    return (
        place.y0 >= other.y0
        and place.y1 <= other.y1
        and place.x0 >= other.x0
        and place.x1 <= other.x1
    )


def tighten(mask: np.ndarray, place: Window) -> tuple[np.ndarray, Window]:
    """The mask within the box of its foreground, and this box."""
    crop, (x, y) = tight_crop(mask, (place.x0, place.y0))
    height, width = crop.shape
    return crop, Window(y, y + height, x, x + width)


def intersection(one: Window, two: Window) -> Window:
    """The pixels of both; of no extent where there are none."""
    y0, x0 = max(one.y0, two.y0), max(one.x0, two.x0)
    return Window(y0, max(min(one.y1, two.y1), y0), x0, max(min(one.x1, two.x1), x0))


def has_pixels(place: Window) -> bool:
    """Whether there is anything at a place."""
    return place.y0 < place.y1 and place.x0 < place.x1


def within(place: Window, frame: Window) -> tuple[slice, slice]:
    """Rows and columns of a place inside a frame, in the frame's own pixels."""
    return (
        slice(max(place.y0 - frame.y0, 0), max(place.y1 - frame.y0, 0)),
        slice(max(place.x0 - frame.x0, 0), max(place.x1 - frame.x0, 0)),
    )


def placed_iou(
    one: np.ndarray, at: Window, two: np.ndarray, other: Window, smaller: bool = False
) -> float:
    """IoU of two masks at their places, or what they share as a part of the smaller one."""
    both = intersection(at, other)
    shared = np.count_nonzero(one[within(both, at)] & two[within(both, other)])
    areas = np.count_nonzero(one), np.count_nonzero(two)
    return shared / (min(areas) if smaller else sum(areas) - shared) if shared else 0.0
