"""The values of an image and how often each occurs, and what they say about its grey levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLIPPED = (0.005, 0.995)  # quantiles: hot pixels and debris do not decide
BORDER_SHARE = 0.01  # an outermost value of more pixels than this may be a border
LEVELS = 256
# Steps of an 8-bit image as usual programs store it: numbers kept, spread over 16 bits, fractions.
USUAL_STEPS = (1.0, 257.0, 1 / 255)


@dataclass(frozen=True)
class Histogram:
    """Finite values of an image.

    Attributes:
        values: float64 [N], each once, ascending.
        counts: int64 [N], pixels of each.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray) -> Histogram:
        """Of values of any shape and real dtype; those that are not finite are left out."""
        flat = np.asarray(sample).reshape(-1)
        if flat.dtype in (np.uint8, np.uint16):
            counts = np.bincount(flat)
            values = np.flatnonzero(counts)
            return cls(values.astype(np.float64), counts[values])
        if flat.dtype.kind == "f":
            flat = flat[np.isfinite(flat)]
        values, counts = np.unique(flat, return_counts=True)
        return cls(values.astype(np.float64), counts)

    def __len__(self) -> int:
        return len(self.values)

    def reflected(self, about: float) -> Histogram:
        """Of `about` minus each value."""
        return Histogram(about - self.values[::-1], self.counts[::-1])

    def without_border(self) -> Histogram:
        """Without the smallest and the largest value where they are a border around the image.

        A border is one value of many pixels with few others on the way from it to the background;
        a dark background that the camera cut off at zero has many.
        """
        if len(self) < 2:
            return self
        rest = self
        for edge, others in ((0, slice(1, None)), (-1, slice(-1))):
            inner = Histogram(rest.values[others], rest.counts[others])
            if len(inner) and inner._is_far_from(rest.values[edge], rest.counts[edge]):
                rest = inner
        return rest

    def statistics(self) -> GreyStatistics:
        """Robust figures; zeros without any value."""
        inside = self.without_border()
        if not len(inside):
            return GreyStatistics(0.0, 0.0, 0.0)
        weights = inside.counts / inside.counts.sum()
        clipped = np.clip(inside.values, *inside._quantiles(CLIPPED))
        background = float(clipped @ weights)
        deviation = clipped - background
        spread = float(np.sqrt(deviation**2 @ weights))
        if spread <= 1e-12 * max(1.0, abs(background)):
            return GreyStatistics(background, 0.0, 0.0)
        return GreyStatistics(background, spread, float((deviation / spread) ** 3 @ weights))

    def even_levels(self) -> tuple[float, float] | None:
        """Step and zero of an 8-bit image that is stored in other numbers.

        Returns:
            `(step, zero)` such that `(values - zero) / step` are whole numbers of 0..255, with zero
            0 where that fits; None for more than 256 levels, or uneven ones. Levels may be off by
            the rounding to whole numbers that comes with a stretch.
        """
        levels = self.values
        if not 1 <= len(levels) <= LEVELS:
            return None
        for step in USUAL_STEPS:
            if _are_levels(levels / step, 1e-3):
                return step, 0.0
        if len(levels) == 1:
            return None
        step = _step(levels)
        # whole numbers that a stretch has rounded are off by up to a half at either end
        tolerance = 1 / step if step > 2 and (levels == np.rint(levels)).all() else 1e-3
        for zero in (0.0, float(levels[0])):
            if _are_levels((levels - zero) / step, max(tolerance, 1e-3)):
                return step, zero
        return None

    def _is_far_from(self, border: float, count: int) -> bool:
        """Whether a value of `count` other pixels is a border of these."""
        (middle,) = self._quantiles((0.5,))
        near = self.counts[np.abs(self.values - border) < abs(middle - border) / 4].sum()
        return bool(near < count / 3 and count > BORDER_SHARE * (self.counts.sum() + count))

    def _quantiles(self, shares: tuple[float, ...]) -> np.ndarray:
        """The values below which these shares of the pixels lie."""
        total = np.cumsum(self.counts)
        return self.values[np.searchsorted(total, np.array(shares) * total[-1])]


@dataclass(frozen=True)
class GreyStatistics:
    """Robust figures of an image's finite values: mean, standard deviation and skewness of the
    values clipped to their 0.5 and 99.5 percentiles, in the image's own units."""

    background: float
    spread: float
    skewness: float


def _step(levels: np.ndarray) -> float:
    """The distance of even levels, some of which no pixel has."""
    gaps = np.diff(levels)
    step = gaps[gaps < 1.5 * gaps.min()].mean()
    return float((levels[-1] - levels[0]) / np.rint((levels[-1] - levels[0]) / step))


def _are_levels(numbers: np.ndarray, tolerance: float) -> bool:
    """Whether ascending numbers are different whole ones of 0..255, as far as `tolerance` goes."""
    whole = np.rint(numbers)
    if not (np.diff(whole) > 0).all():  # fractions far below 1 are all near 0
        return False
    return bool(np.abs(numbers - whole).max() <= tolerance and whole[0] >= 0 and whole[-1] < LEVELS)
