"""Grey values of any file, and the ones that a model knows.

A model knows images of 8 bits whose background lies at some grey value, with a certain spread about
it. A `GreyRule` says both and travels in the checkpoint (`inference["grey"]`). It turns into one
linear `GreyMap` for each image, so that the same pixels, stored with other numbers, end as the same
grey values:

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

from cells.histogram import GreyStatistics, Histogram

SPREAD_MARGIN = 1.5  # contrast beyond the training images' that a model is expected to bear
# Of the training images' spreads, the one that images without natural contrast get. Contrast that
# is too low costs little; noise that is raised too far looks like cells. 18 Sartorius validation
# images brought to a spread of 6 / 7.5 / 9 / 12 score 0.182 / 0.182 / 0.177 / 0.175, as they are
# 0.188 (benchmarks/benchmark_values.py --spreads).
SPREAD_QUANTILE = 0.2


@dataclass(frozen=True)
class GreyRule:
    """What the grey values of a model's training images were.

    Attributes:
        background: where the background of an image without natural contrast is put.
        spread: the spread that such an image gets.
        background_range: smallest and largest background of the 8-bit images of training.
        spread_range: smallest and largest spread that an 8-bit image may keep.
        skewness_range: of the training images; an image outside it that would be inside, or
            much nearer, with inverted contrast is reported. None: not known.
    """

    background: float
    spread: float
    background_range: tuple[float, float]
    spread_range: tuple[float, float]
    skewness_range: tuple[float, float] | None = None

    @classmethod
    def from_dict(cls, values: Mapping) -> GreyRule:
        """From `inference["grey"]` of a checkpoint or a config.

        Raises:
            ValueError: says what is missing or not a number.
        """
        skewness = values.get("skewness_range")
        rule = cls(
            background=_number(values, "background"),
            spread=_number(values, "spread"),
            background_range=_pair(values, "background_range"),
            spread_range=_pair(values, "spread_range"),
            skewness_range=None if skewness is None else _pair(values, "skewness_range"),
        )
        if rule.spread <= 0 or rule.spread_range[0] < 0:
            raise ValueError("grey: 'spread' is not above 0")
        return rule

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
    spread=7.5,  # see SPREAD_QUANTILE
    background_range=(128.0, 128.0),
    spread_range=(2.0, 32.0),
    skewness_range=(-3.0, 0.3),
)
SARTORIUS_CLASSES = {"shsy5y", "astro", "cort"}
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
        values: np.ndarray = raw.astype(np.float32 if raw.dtype.itemsize <= 2 else np.float64)
        with np.errstate(invalid="ignore"):  # infinite values, which become background
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
    histogram = Histogram.of(sample)
    if not len(histogram):
        return GreyMap(0.0, rule.background, rule.background)
    reflection = _reflection(sample.dtype)
    if not invert:
        gain, offset = _line(histogram, sample.dtype, rule)
        return GreyMap(gain, offset, rule.background)
    gain, offset = _line(histogram.reflected(reflection), sample.dtype, rule)
    return GreyMap(-gain, offset + gain * reflection, rule.background)


def _line(histogram: Histogram, dtype: np.dtype, rule: GreyRule) -> tuple[float, float]:
    """Gain and offset for the values of a file of `dtype`."""
    found = histogram.statistics()
    levels = (1.0, 0.0) if dtype == np.uint8 else histogram.even_levels()
    if levels is None:
        gain = rule.spread / found.spread if found.spread > 0 else 1.0
        return gain, rule.background - gain * found.background
    step, zero = levels
    spread, background = found.spread / step, (found.background - zero) / step
    target = float(np.clip(background, *rule.background_range))
    wanted = float(np.clip(spread, *rule.spread_range))
    if wanted == spread or spread == 0:
        shift = float(np.rint(target - background))  # whole levels: nothing is rounded
        return 1.0 / step, shift - zero / step
    gain = wanted / spread
    return gain / step, target - gain * found.background / step


def looks_inverted(found: GreyStatistics, rule: GreyRule) -> bool:
    """Whether an image's values lean to the other side of the background than in training."""
    if rule.skewness_range is None:
        return False
    low, high = rule.skewness_range

    def outside(skewness: float) -> float:
        return max(low - skewness, skewness - high, 0.0)

    return outside(-found.skewness) < outside(found.skewness) / 2


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
    low, high = spread.min() / SPREAD_MARGIN, spread.max() * SPREAD_MARGIN
    return GreyRule(
        background=round(float(np.median(background)), 2),
        spread=round(max(float(np.quantile(spread, SPREAD_QUANTILE)), 1.0), 2),
        background_range=_rounded(background.min(), background.max()),
        spread_range=_rounded(low, high),
        skewness_range=_rounded(skewness.min() - 0.1, skewness.max() + 0.1),
    )


def rule_of(inference: Mapping, class_names: Sequence[str]) -> GreyRule:
    """The rule of a checkpoint; older ones do not have it.

    Those of Sartorius' classes learned from its images, and other images are made similar to these.
    What others learned from is not known: they get 8-bit values as they are, as in their training.
    """
    if inference.get("grey"):
        return GreyRule.from_dict(inference["grey"])
    return SARTORIUS if set(class_names) <= SARTORIUS_CLASSES else AS_STORED


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


def _reflection(dtype: np.dtype) -> float:
    """What minus a value is the value of inverted contrast."""
    if dtype.kind == "b":
        return 1.0
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 0.0


def _rounded(low: float, high: float) -> tuple[float, float]:
    return float(np.floor(low * 100) / 100), float(np.ceil(high * 100) / 100)


def _number(values: Mapping, name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e6:
        raise ValueError(f"grey: '{name}' is not a number up to 1e6")
    return float(value)


def _pair(values: Mapping, name: str) -> tuple[float, float]:
    pair = values.get(name)
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"grey: '{name}' is not a list of two numbers")
    low, high = (_number({name: value}, name) for value in pair)
    if low > high:
        raise ValueError(f"grey: '{name}' ends below its start")
    return low, high
