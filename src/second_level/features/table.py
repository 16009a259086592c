"""Features of predicted instances from which the 2nd-level model predicts their IoU.

The columns of the published model equal the original solution's, its quirks included; the modules
of the groups say which columns are new. What a column holds is documented with the function that
computes it, in the other modules of this package.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cells.instances import Instances
from second_level.features import agreement, neighbours, overlaps, shape
from second_level.features import image as image_features
from second_level.features.base import MeasuredInstances

GROUPS = (
    *shape.GROUPS,
    *image_features.GROUPS,
    *overlaps.GROUPS,
    *neighbours.GROUPS,
    *agreement.GROUPS,
)
FEATURE_NAMES = tuple(name for group in GROUPS for name in group.names)


def compute_features(
    instances: Instances, image: np.ndarray, names: Sequence[str] = FEATURE_NAMES
) -> pd.DataFrame:
    """Compute the columns that are asked for, and no others.

    Time and memory grow with the number of instances (and of neighbours within 200 pixels), not
    with instances times image size.

    Args:
        instances: N instances of one image, before overlaps are resolved.
        image: uint8 [height, width, 3], BGR, in which the instances were found.
        names: columns, see `FEATURE_NAMES`.

    Returns:
        float64, N rows in the order of the instances and the columns in the order of `names`. NaN
        where a column has no value for an instance.

    Raises:
        ValueError: an unknown name, or an image of another size than the instances are from.
    """
    unknown = [name for name in names if name not in FEATURE_NAMES]
    if unknown:
        raise ValueError(f"unknown features: {', '.join(unknown)}")
    if image.shape[:2] != tuple(instances.image_size):
        raise ValueError(f"image of {image.shape[:2]}, instances of {instances.image_size}")
    measured = MeasuredInstances(instances, image)
    found: dict[str, np.ndarray] = {}
    for group in GROUPS:
        asked = set(group.names).intersection(names)
        if asked:
            found |= group.compute(measured, asked)
    return pd.DataFrame({name: np.asarray(found[name], np.float64) for name in names})
