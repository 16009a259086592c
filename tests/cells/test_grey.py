"""Grey values of any file as the models know them."""

from __future__ import annotations

import numpy as np
import pytest

from cells.grey import (
    AS_STORED,
    SARTORIUS,
    GreyRule,
    estimate_rule,
    grey_map,
    looks_inverted,
    mean_rule,
)
from cells.histogram import GreyStatistics, Histogram


def statistics(image: np.ndarray) -> GreyStatistics:
    return Histogram.of(image).statistics()


def even_levels(values: np.ndarray) -> tuple[float, float] | None:
    return Histogram.of(values).even_levels()


def phase_contrast(background: float = 128, spread: float = 6, seed: int = 0) -> np.ndarray:
    """uint8 [200, 300]: noise, dark cells and a mean of `background`."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, spread, (200, 300))
    for y, x in rng.integers(10, 190, (40, 2)):
        image[y - 6 : y + 6, x - 6 : x + 6] -= 6 * spread
    return np.clip(np.rint(image - image.mean() + background), 0, 255).astype(np.uint8)


EIGHT_BIT = phase_contrast()
STORED = {
    "times 257": EIGHT_BIT.astype(np.uint16) * 257,
    "times 4": EIGHT_BIT.astype(np.uint16) * 4,
    "times 4 and an offset": EIGHT_BIT.astype(np.uint16) * 4 + 1003,
    "only an offset": EIGHT_BIT.astype(np.uint16) + 700,
    "a wider type": EIGHT_BIT.astype(np.int32),
    "fractions": EIGHT_BIT.astype(np.float32) / 255,
    "fractions about zero": EIGHT_BIT / 255.0 - 0.4,
    "stretched to all of 16 bit": np.rint(
        (EIGHT_BIT - EIGHT_BIT.min()) * (65535 / np.ptp(EIGHT_BIT))
    ).astype(np.uint16),
}


@pytest.mark.parametrize("name", STORED)
def test_the_same_pixels_stored_in_other_numbers(name):
    assert (grey_map(EIGHT_BIT, SARTORIUS)(EIGHT_BIT) == EIGHT_BIT).all()
    raw = STORED[name]
    np.testing.assert_array_equal(grey_map(raw, SARTORIUS)(raw), EIGHT_BIT)


@pytest.mark.parametrize("name", STORED)
def test_inverted_contrast(name):
    raw = STORED[name]
    turned = np.iinfo(raw.dtype).max - raw if raw.dtype.kind == "u" else -raw
    found = grey_map(turned, SARTORIUS, invert=True)(turned)
    np.testing.assert_array_equal(found, EIGHT_BIT)
    assert looks_inverted(statistics(turned), SARTORIUS)
    assert not looks_inverted(statistics(raw), SARTORIUS)


@pytest.mark.parametrize(
    ("skewness", "told"), [(-6, False), (-1, False), (0.2, False), (0.5, True), (3.2, True)]
)
def test_which_skewness_is_told(skewness, told):
    assert looks_inverted(GreyStatistics(128, 10, skewness), SARTORIUS) == told


def test_more_than_256_values_get_the_rules_background_and_spread():
    rng = np.random.default_rng(1)
    raw = (EIGHT_BIT * 40.0 + rng.normal(0, 30, EIGHT_BIT.shape) + 2000).astype(np.uint16)
    raw[0, :20] = 65535  # hot pixels
    for values in (raw, raw * 0.01 - 7):
        found = statistics(grey_map(values, SARTORIUS)(values))
        assert found.background == pytest.approx(128, abs=0.6)
        assert found.spread == pytest.approx(SARTORIUS.spread, rel=0.05)


@pytest.mark.parametrize(("background", "spread"), [(60, 6), (200, 6), (128, 1), (128, 60)])
def test_other_8_bit_images_are_brought_to_what_training_had(background, spread):
    image = phase_contrast(background, spread)
    found = statistics(grey_map(image, SARTORIUS)(image))
    assert found.background == pytest.approx(128, abs=3)
    low, high = SARTORIUS.spread_range
    assert low * 0.8 <= found.spread <= high * 1.05
    assert (grey_map(image, AS_STORED)(image) == image).all()


def test_a_border_of_one_value_does_not_count():
    framed = np.zeros((300, 400), np.uint8)
    framed[50:250, 50:350] = EIGHT_BIT
    assert (grey_map(framed, SARTORIUS)(framed) == framed).all()
    deep = framed.astype(np.uint16) * 257
    assert (grey_map(deep, SARTORIUS)(deep) == framed).all()


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_become_background():
    raw = STORED["fractions"].copy()
    raw[0, :3] = np.nan, np.inf, -np.inf
    found = grey_map(raw, SARTORIUS)(raw)
    assert (found[0, :3] == 128).all()
    np.testing.assert_array_equal(found[1:], EIGHT_BIT[1:])
    nothing = np.full((4, 4), np.nan, np.float32)
    nothing[0, 0] = np.inf
    assert (grey_map(nothing, SARTORIUS)(nothing) == 128).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, bool])
def test_constant_images(dtype):
    image = np.ones((8, 8), dtype)
    assert (grey_map(image, SARTORIUS)(image) == 128).all()


def test_uneven_levels_are_no_8_bit_image():
    assert even_levels(np.array([0.0, 3, 10, 11])) == (1.0, 0.0)
    assert even_levels(np.array([1000.0, 1300, 2000, 2100, 2250])) is None
    assert even_levels(np.arange(1000, 1300.0)) is None


def test_training_images_make_the_rule():
    images = [phase_contrast(background, 8, seed) for seed, background in enumerate((40, 90, 200))]
    rule = estimate_rule([statistics(image) for image in images])
    assert all((grey_map(image, rule)(image) == image).all() for image in images)
    assert rule.background == pytest.approx(90, abs=2)
    assert GreyRule.from_dict(rule.to_dict()) == rule
    assert estimate_rule([]) == SARTORIUS
    assert mean_rule([rule, rule]) is rule
    assert mean_rule([rule, SARTORIUS]).background == pytest.approx((rule.background + 128) / 2)
