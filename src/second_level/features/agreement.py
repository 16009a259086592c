"""How far the models agree on an instance; new, the published model has none of these columns."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from cells.instances import AGREEMENT
from second_level.features.base import FeatureGroup, MeasuredInstances

NAMES = tuple(f"agreement_{name}" for name in AGREEMENT)


def agreement(measured: MeasuredInstances, _names: Collection[str]) -> dict[str, np.ndarray]:
    """The columns of `Instances.agreement`."""
    return dict(zip(NAMES, measured.instances.agreement.T, strict=True))


GROUPS = (FeatureGroup(NAMES, agreement),)
