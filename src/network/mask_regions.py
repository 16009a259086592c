"""Regions that masks are predicted in: boxes, grown by a model's `mask_context`.

A mask that ends where its box ends cannot be better than the box, and boxes of thin or crowded
cells fit badly: of shsy5y's, 30 % reach an IoU of 0.75, but 74 % of the masks in true boxes.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def grow_boxes(boxes: Array, factor: float, image_size: tuple[float, float]) -> Array:
    """Boxes of `factor` times the width and height about the same centres, inside the image.

    Args:
        boxes: float [N, 4], x1 y1 x2 y2.
        factor: at least 1; with 1 the boxes stay as they are, also outside of the image.
        image_size: (height, width) in the boxes' units.
    """
    if factor == 1:
        return boxes
    margin = (boxes[:, 2:] - boxes[:, :2]) * ((factor - 1) / 2)
    grown = boxes + 0  # a copy in both libraries
    for axis, limit in enumerate(reversed(image_size)):
        grown[:, axis] = (boxes[:, axis] - margin[:, axis]).clip(0, limit)
        grown[:, axis + 2] = (boxes[:, axis + 2] + margin[:, axis]).clip(0, limit)
    return grown
