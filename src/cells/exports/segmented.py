"""What a writer of results is given: one image with its instances and its names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cells.instances import Instances


@dataclass(frozen=True)
class SegmentedImage:
    """One image and what was found in it.

    Attributes:
        name: stem of its results, unique in a run.
        file_name: the image file, relative to the folder that was segmented, with suffix and "/".
        image: uint8 [height, width, 3], BGR.
        instances: N instances, best first.
        class_names: by label.
    """

    name: str
    file_name: str
    image: np.ndarray
    instances: Instances
    class_names: Sequence[str]
