"""Instances at the training's scale, for what has learned from areas and distances in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from cells.instances import Instances

Rescore = Callable[[Instances, np.ndarray], Instances]


def at_training_scale(rescore: Rescore, image_scale: float) -> Rescore:
    """A rescoring that sees instances and image as large as in training.

    Args:
        rescore: changes scores, drops instances and changes their order; it leaves the arrays of
            the masks as they are, by which the instances are told.
        image_scale: size of the image's pixels relative to those of the training images.

    Returns:
        A function of instances and their uint8 BGR image that answers in the image's own pixels.
    """
    if image_scale == 1:
        return rescore

    def rescaled(instances: Instances, image: np.ndarray) -> Instances:
        seen, pixels = as_in_training(instances, image, image_scale)
        answer = rescore(seen, pixels)
        number = {id(mask): i for i, mask in enumerate(seen.masks)}
        chosen = np.array([number[id(mask)] for mask in answer.masks], np.int64)
        return replace(instances[chosen], scores=answer.scores)

    return rescaled


def as_in_training(
    instances: Instances, image: np.ndarray, image_scale: float
) -> tuple[Instances, np.ndarray]:
    """Instances and their uint8 BGR image as large as in training, see `at_training_scale`."""
    if image_scale == 1:
        return instances, image
    height, width = (max(1, round(side * image_scale)) for side in image.shape[:2])
    return resized(instances, image_scale, (height, width)), cv2.resize(image, (width, height))


def resized(instances: Instances, factor: float, image_size: tuple[int, int]) -> Instances:
    """Instances of an image that is enlarged by a factor to (height, width) `image_size`."""
    limit = np.array(image_size[::-1])
    masks, offsets = [], []
    for mask, offset in zip(instances.masks, instances.offsets, strict=True):
        corner = offset + mask.shape[::-1]
        low = np.minimum(np.rint(offset * factor).astype(np.int64), limit - 1)
        size = np.clip(np.rint(corner * factor).astype(np.int64) - low, 1, limit - low)
        masks.append(cv2.resize(mask, size.tolist()) if mask.size else mask)
        offsets.append(low)
    return replace(
        instances,
        image_size=image_size,
        boxes=instances.boxes * np.float32(factor),
        masks=masks,
        offsets=np.array(offsets, np.int64).reshape(-1, 2),
    )
