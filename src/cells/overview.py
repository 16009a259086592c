"""A picture of an image that is too large for one: reduced, and read strip by strip."""

from __future__ import annotations

import cv2
import numpy as np

from cells.drawing import LONG_SIDE, draw_instances
from cells.instances import Instances
from cells.masks import MASK_THRESHOLD
from cells.pictures import Picture

STRIP = 512  # rows of the picture that are reduced at a time


def draw_picture(picture: Picture, instances: Instances) -> np.ndarray:
    """`draw_instances` of an image of any size.

    An image whose long side exceeds `LONG_SIDE` is reduced by a whole factor, and gets no scores.

    Args:
        picture: the image.
        instances: of it.

    Returns:
        uint8 BGR picture.
    """
    height, width = picture.shape
    factor = -(-max(height, width) // LONG_SIDE)
    if factor == 1:
        return draw_instances(picture.window(0, height, 0, width), instances)
    return draw_instances(reduce(picture, factor), reduced(instances, factor), show_scores=False)


def reduce(picture: Picture, factor: int) -> np.ndarray:
    """The image at one `factor`-th of its size, rounded up, uint8 BGR."""
    height, width = picture.shape
    rows = STRIP * factor
    strips = []
    for y0 in range(0, height, rows):
        strip = picture.window(y0, min(y0 + rows, height), 0, width)
        # a side that the factor does not divide is continued, so that pixels stay where they are
        more = -strip.shape[0] % factor, -width % factor
        strip = cv2.copyMakeBorder(strip, 0, more[0], 0, more[1], cv2.BORDER_REPLICATE)
        size = strip.shape[1] // factor, strip.shape[0] // factor
        strips.append(cv2.resize(strip, size, interpolation=cv2.INTER_AREA))
    return np.concatenate(strips)


def reduced(instances: Instances, factor: int) -> Instances:
    """Instances as they are in an image at one `factor`-th of its size; none disappears."""
    masks, offsets = [], instances.offsets // factor
    for mask, (x, y) in zip(instances.masks, instances.offsets, strict=True):
        before = y % factor, x % factor
        after = [-(side + b) % factor for side, b in zip(mask.shape, before, strict=True)]
        padded = np.pad(mask >= MASK_THRESHOLD, list(zip(before, after, strict=True)))
        height, width = (side // factor for side in padded.shape)
        shares = padded.reshape(height, factor, width, factor).mean(axis=(1, 3), dtype=np.float32)
        most = shares.max(initial=0)
        masks.append(shares / most if 0 < most < MASK_THRESHOLD else shares)
    height, width = (-(-side // factor) for side in instances.image_size)
    return Instances(
        (height, width),
        instances.boxes / factor,
        instances.scores,
        instances.labels,
        masks,
        offsets,
    )
