"""Grey values of any file, and the ones that a model knows.

A model knows images of 8 bits whose background lies at some grey value and whose values spread
about it by so much. A `GreyRule` says both and travels in the checkpoint (`inference["grey"]`). It
turns into one linear `GreyMap` for each image, so that the same pixels, stored with other numbers,
end as the same grey values:

- 8-bit values keep their contrast as long as its spread is one that training had; the background
  is moved, by whole grey levels, into the range that training had.
- Deeper files that hold no more than 256 evenly spaced values (8-bit images stored as 16 bit, or
  as fractions) are counted back to 8 bits first, whatever their factor and offset.
- All others have no natural contrast: their background and spread are set to the rule's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

CLIPPED = (0.5, 99.5)  # percentiles: hot pixels and debris do not decide
PADDING_SHARE = 0.01  # an outermost value of more pixels than this may be a border
LEVELS = 256
# Steps of an 8-bit image as usual programs store it: numbers kept, spread over 16 bits, fractions.
USUAL_STEPS = (1.0, 257.0, 1 / 255)
SPREAD_MARGIN = 1.5  # contrast beyond the training images' that a model is expected to bear


@dataclass(frozen=True)
class GreyStatistics:
    """Robust figures of an image's finite values: mean, standard deviation and skewness of the
    values clipped to their 0.5 and 99.5 percentiles, in the image's own units."""

    background: float
    spread: float
    skewness: float


@dataclass(frozen=True)
class GreyRule:
    """What the grey values of a model's training images were.

    Attributes:
        background: where the background of an image without natural contrast is put.
        spread: the spread that such an image gets.
        background_range: smallest and largest background of the 8-bit images of training.
        spread_range: smallest and largest spread that an 8-bit image may keep.
        skewness_range: of the training images; an image outside it that would be inside with
            inverted contrast is reported. None: not known.
    """

    background: float
    spread: float
    background_range: tuple[float, float]
    spread_range: tuple[float, float]
    skewness_range: tuple[float, float] | None = None

    @classmethod
    def from_dict(cls, values: Mapping) -> GreyRule:
        """From `inference["grey"]` of a checkpoint or a config."""
        skewness = values.get("skewness_range")
        return cls(
            background=float(values["background"]),
            spread=float(values["spread"]),
            background_range=_pair(values["background_range"]),
            spread_range=_pair(values["spread_range"]),
            skewness_range=None if skewness is None else _pair(skewness),
        )

    def to_dict(self) -> dict:
        """Plain data for `inference["grey"]`."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }


# The challenge's images: the microscope's program puts their mean to 128. Measured on 458 of them:
# background 127.8 to 128.2, spread 2.9 to 21, skewness -2.9 to 0.17.
SARTORIUS = GreyRule(
    background=128.0,
    spread=7.5,  # scores best: what is raised too far shows noise that looks like cells
    background_range=(128.0, 128.0),
    spread_range=(2.0, 32.0),
    skewness_range=(-3.0, 0.3),
)
# 8-bit values as they are, for models that say nothing about theirs.
AS_STORED = GreyRule(
    background=128.0, spread=7.5, background_range=(0.0, 255.0), spread_range=(0.0, 255.0)
)


@dataclass(frozen=True)
class GreyMap:
    """From raw values to a model's: `gain * raw + offset`, rounded and clipped to 0..255.

    Attributes:
        gain, offset: of the line.
        background: grey value for pixels that are not finite.
    """

    gain: float = 1.0
    offset: float = 0.0
    background: float = 128.0

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """uint8 of the shape of `raw` (any real dtype); `raw` itself where nothing changes."""
        if raw.dtype == np.uint8 and (self.gain, self.offset) == (1.0, 0.0):
            return raw
        if raw.dtype in (np.uint8, np.uint16) and raw.size > np.iinfo(raw.dtype).max:
            return self._apply(np.arange(np.iinfo(raw.dtype).max + 1))[raw]
        return self._apply(raw)

    def _apply(self, raw: np.ndarray) -> np.ndarray:
        values = raw.astype(np.float32 if raw.dtype.itemsize <= 2 else np.float64)
        values = values * self.gain + self.offset
        if raw.dtype.kind == "f":
            values = np.where(np.isfinite(raw), values, self.background)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def grey_map(sample: np.ndarray, rule: GreyRule, invert: bool = False) -> GreyMap:
    """The line from an image's raw values to those that a model knows.

    Args:
        sample: values of the image, any shape and real dtype; those that are not finite are
            ignored.
        rule: of the model.
        invert: the contrast is the other way round than in the training images.
    """
    values = _finite(sample)
    if not len(values):
        return GreyMap(0.0, rule.background, rule.background)
    reflection = _reflection(sample.dtype) if invert else 0.0
    values = reflection - values if invert else values
    gain, offset = _line(values, sample.dtype, rule)
    if invert:  # of the values as they are in the file
        gain, offset = -gain, offset + gain * reflection
    return GreyMap(gain, offset, rule.background)


def _line(values: np.ndarray, dtype: np.dtype, rule: GreyRule) -> tuple[float, float]:
    """Gain and offset for finite float64 values of a file of `dtype`."""
    found = statistics(values)
    levels = (1.0, 0.0) if dtype == np.uint8 else even_levels(values)
    if levels is None:
        gain = rule.spread / found.spread if found.spread > 0 else 1.0
        return gain, rule.background - gain * found.background
    step, zero = levels
    spread, background = found.spread / step, (found.background - zero) / step
    wanted = float(np.clip(spread, *rule.spread_range))
    if wanted != spread and spread > 0:
        gain = wanted / spread
        target = float(np.clip(background, *rule.background_range))
        return gain / step, target - gain * (found.background / step)
    target = float(np.clip(background, *rule.background_range))
    shift = float(np.rint(target - background))  # whole levels: nothing is rounded
    return 1.0 / step, shift - zero / step


def statistics(sample: np.ndarray) -> GreyStatistics:
    """Robust background, spread and skewness of the finite values of `sample`."""
    values = _without_padding(_finite(sample))
    if not len(values):
        return GreyStatistics(0.0, 0.0, 0.0)
    clipped = np.clip(values, *np.percentile(values, CLIPPED))
    background, spread = float(clipped.mean()), float(clipped.std())
    if spread <= 1e-12 * max(1.0, abs(background)):
        return GreyStatistics(background, 0.0, 0.0)
    skewness = float((((clipped - background) / spread) ** 3).mean())
    return GreyStatistics(background, spread, skewness)


def looks_inverted(found: GreyStatistics, rule: GreyRule) -> bool:
    """Whether an image's values lean to the other side of the background than in training."""
    if rule.skewness_range is None:
        return False
    low, high = rule.skewness_range
    return not low <= found.skewness <= high and low <= -found.skewness <= high


def even_levels(values: np.ndarray) -> tuple[float, float] | None:
    """Step and zero of an 8-bit image that is stored in other numbers.

    Args:
        values: finite.

    Returns:
        `(step, zero)` such that `(values - zero) / step` are whole numbers of 0..255, with zero 0
        where that fits; None for more than 256 levels, or uneven ones. Levels may be off by the
        rounding to whole numbers that comes with a stretch.
    """
    levels = np.unique(values)
    if not 2 <= len(levels) <= LEVELS:
        return None
    for step in USUAL_STEPS:
        counts = levels / step
        if (
            counts[0] > -0.5
            and counts[-1] < LEVELS
            and np.abs(counts - np.rint(counts)).max() < 1e-3
        ):
            return step, 0.0
    gaps = np.diff(levels)
    step = float(gaps[gaps < 1.5 * gaps.min()].mean())
    counts = np.rint((levels - levels[0]) / step)
    if counts[-1] >= LEVELS:
        return None
    step = float((levels[-1] - levels[0]) / counts[-1])
    rounded = 0.5 if np.all(levels == np.rint(levels)) and step > 2 else 0.0
    off = np.abs(levels - levels[0] - counts * step).max()
    if off > 2 * rounded + 1e-3 * step:
        return None
    first = levels[0] / step
    fits = abs(first - np.rint(first)) < 1e-3 + 2 * rounded / step and first > -0.5
    if fits and np.rint(first) + counts[-1] < LEVELS:
        return step, 0.0
    return step, float(levels[0])


def estimate_rule(found: Sequence[GreyStatistics]) -> GreyRule:
    """The rule of a model from the statistics of its 8-bit training images.

    Without any (all training images are deeper) background and spread are the usual ones.
    """
    if not found:
        return SARTORIUS
    background, spread, skewness = (
        np.array([getattr(one, name) for one in found])
        for name in ("background", "spread", "skewness")
    )
    return GreyRule(
        background=round(float(np.median(background)), 2),
        spread=round(max(float(np.median(spread)), 1.0), 2),
        background_range=(float(np.floor(background.min())), float(np.ceil(background.max()))),
        spread_range=(float(spread.min()) / SPREAD_MARGIN, float(spread.max()) * SPREAD_MARGIN),
        skewness_range=(round(float(skewness.min()), 2), round(float(skewness.max()) + 0.1, 2)),
    )


def mean_rule(rules: Sequence[GreyRule]) -> GreyRule:
    """One rule for the models of an ensemble, which see the same image: the mean of theirs."""
    if len(set(rules)) == 1:
        return rules[0]
    ranges = {
        name: tuple(np.mean([getattr(rule, name) for rule in rules], axis=0).tolist())
        for name in ("background_range", "spread_range")
    }
    return GreyRule(
        background=float(np.mean([rule.background for rule in rules])),
        spread=float(np.mean([rule.spread for rule in rules])),
        **ranges,
    )


def _finite(sample: np.ndarray) -> np.ndarray:
    """Finite values, flat, float64."""
    values = np.asarray(sample).reshape(-1)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return values.astype(np.float64)


def _without_padding(values: np.ndarray) -> np.ndarray:
    """Without the smallest and the largest value where they are a border that frames the image.

    A border is one value of many pixels with few others on the way from it to the background;
    a dark background that the camera cut off at zero has many.
    """
    if not len(values):
        return values
    middle = np.median(values)
    for edge in (values.min(), values.max()):
        share = np.mean(values == edge)
        near = np.mean(np.abs(values - edge) < abs(middle - edge) / 4) - share
        if PADDING_SHARE < share < 1 and middle != edge and near < share / 3:
            values = values[values != edge]
    return values


def _reflection(dtype: np.dtype) -> float:
    """What minus a value is the value of inverted contrast."""
    if dtype.kind == "b":
        return 1.0
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 0.0


def _pair(values: Sequence[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
