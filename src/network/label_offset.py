"""Labels that lie beside what they outline, all of them alike.

Outlines can be off by a part of a pixel, by the tool that drew or filled them: those of the
Sartorius challenge lie 0.4 pixels above the cells. A model that learns from mirrored images cannot
see that, and IoU suffers most for small cells. So training takes the offset off the labels, and
inference puts it onto what it finds. `label_offset` in a checkpoint's `inference` is that offset, x
and y in pixels of the training images; the evaluation measures it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

AT_BORDER = 0.01  # pixels; what rounding leaves between a box that was clipped and the border


def label_offset(inference: Mapping) -> np.ndarray:
    """Offset of the labels, float32 [2], x to the right and y down; zero where it is not told."""
    return np.array(inference.get("label_offset", (0, 0)), np.float32)


def moved_to_labels(
    boxes: np.ndarray, offset: np.ndarray, image_size: tuple[int, int]
) -> np.ndarray:
    """Boxes where labels would lie; edges at the image's border stay, for the border cuts there.

    Args:
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels.
        offset: float32 [2] in the same pixels.
        image_size: (height, width) in pixels.
    """
    border = np.array([0, 0, *image_size[::-1]], np.float32)
    stays = np.abs(boxes - border) < AT_BORDER
    return np.where(stays, boxes, boxes + np.tile(offset, 2))
