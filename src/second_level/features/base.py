"""What several features of an image's instances share, computed once and only when needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from cells.instances import Instances
from cells.masks import Crop, binary_crops, find_outlines, tight_crop


@dataclass(frozen=True)
class FeatureGroup:
    """Columns that are computed together.

    Attributes:
        names: all columns that it gives.
        compute: from the instances and the names that are asked for to float or int arrays [N] by
            name; it may give more of its columns than asked for.
    """

    names: tuple[str, ...]
    compute: Callable[[MeasuredInstances, Collection[str]], Mapping[str, np.ndarray]]


class MeasuredInstances:
    """Instances of one image with their outlines, as the features need them.

    A mask here is the foreground (probability >= 0.5) within its tight box; x and y are pixels of
    the image. A mask without foreground has a box of no extent.

    Args:
        instances: N instances.
        image: uint8 [height, width, 3], BGR, of the size that the instances record.
    """

    def __init__(self, instances: Instances, image: np.ndarray) -> None:
        self.instances = instances
        self.image = image

    def __len__(self) -> int:
        return len(self.instances)

    @cached_property
    def grey(self) -> np.ndarray:
        """The image without colours, uint8 [height, width]."""
        return cv2.cvtColor(np.ascontiguousarray(self.image), cv2.COLOR_BGR2GRAY)

    @cached_property
    def crops(self) -> list[Crop]:
        """The foreground of each mask within its tight box."""
        crops = zip(binary_crops(self.instances), self.instances.offsets.tolist(), strict=True)
        return [tight_crop(mask, offset) for mask, offset in crops]

    @cached_property
    def masks(self) -> list[np.ndarray]:
        """N boolean arrays [h, w], the foreground within `extents`."""
        return [crop.mask for crop in self.crops]

    @cached_property
    def extents(self) -> np.ndarray:
        """Tight boxes of the masks, int64 [N, 4], x1 y1 x2 y2."""
        corners = np.array([crop.offset for crop in self.crops], np.int64).reshape(-1, 2)
        sides = np.array([crop.mask.shape[::-1] for crop in self.crops], np.int64).reshape(-1, 2)
        return np.concatenate([corners, corners + sides], axis=1)

    @cached_property
    def areas(self) -> np.ndarray:
        """Foreground pixels, int64 [N]."""
        return np.array([np.count_nonzero(mask) for mask in self.masks], np.int64)

    @cached_property
    def outlines(self) -> list[list[np.ndarray]]:
        """For each mask the contours of its pieces, see `find_outlines`."""
        return [find_outlines(*crop) for crop in self.crops]

    @cached_property
    def centroids(self) -> np.ndarray:
        """Centre of each outline, x y cut to whole pixels, float64 [N, 2].

        From the moments of the polygon, as in the reference. Outlines that enclose nothing
        (lines, points) and empty masks get the centre of their box.
        """
        centres = self.extents.reshape(-1, 2, 2).mean(axis=1)
        for i, pieces in enumerate(self.outlines):
            moments = cv2.moments(pieces[0]) if pieces else {"m00": 0.0}
            if moments["m00"] > 0:
                centres[i] = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
        return np.floor(centres)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient in float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    missing = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=missing, where=denominator != 0)


def quantile(ordered: np.ndarray, q: float) -> float:
    """Quantile of sorted values, at least one, with linear interpolation."""
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    low, high = float(ordered[below]), float(ordered[above])
    return low + (high - low) * (position - below)


def columns(names: Collection[str], rows: list[Collection[float]]) -> dict[str, np.ndarray]:
    """Columns from one row of numbers for each instance."""
    table = np.array(rows, np.float64).reshape(len(rows), len(names))
    return dict(zip(names, table.T, strict=True))
