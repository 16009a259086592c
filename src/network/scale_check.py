"""Whether an image is looked at at the right scale, judged by the size of the cells found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cells.instances import Instances
from cells.masks import MASK_THRESHOLD

LEAST_CELLS = 6  # fewer say nothing about the scale
TOLERANCE = 1.5  # ratio of sizes, in either direction, that is taken for biology


def size_ratio(
    instances: Instances,
    class_names: Sequence[str],
    diameters: Mapping[str, float],
    image_scale: float,
) -> float | None:
    """How many times as large as in training the cells are: the median over the cells.

    Args:
        instances: what was found.
        class_names: by label.
        diameters: median in training by class name and `default`, see `network.scale`.
        image_scale: at which it was found.

    Returns:
        None with too few cells.
    """
    if len(instances) < LEAST_CELLS:
        return None
    areas = np.array([np.count_nonzero(mask >= MASK_THRESHOLD) for mask in instances.masks])
    found = 2 * np.sqrt(areas / np.pi) * image_scale
    usual = np.array([diameters.get(name, diameters["default"]) for name in class_names])
    return float(np.median(found / usual[instances.labels]))


def scale_warning(
    instances: Instances,
    class_names: Sequence[str],
    diameters: Mapping[str, float] | None,
    image_scale: float,
) -> str | None:
    """A sentence for the user where the cells' size says that the scale is wrong.

    Args:
        diameters: None where the models do not know them; then there is nothing to say.
    """
    if not diameters:
        return None
    ratio = size_ratio(instances, class_names, diameters, image_scale)
    if ratio is None or 1 / TOLERANCE <= ratio <= TOLERANCE:
        return None
    return (
        f"the cells found are {ratio:.2g} times as large as the training images'; if they should "
        f"not be, try --scale {image_scale / ratio:.2g} or --estimate_scale"
    )
