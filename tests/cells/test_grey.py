"""Grey values of any file as the models know them."""

from __future__ import annotations

import numpy as np
import pytest

from cells.grey import (
    AS_STORED,
    SARTORIUS,
    GreyMap,
    GreyRule,
    estimate_rule,
    grey_map,
    looks_inverted,
    mean_rule,
    rule_of,
)
from cells.histogram import GreyStatistics, Histogram


def statistics(image: np.ndarray) -> GreyStatistics:
    return Histogram.of(image).statistics()


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


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (np.array([0, 5, 30, 131, 140], np.uint8), [0, 0, 50, 252, 255]),
        (np.array([-4, 5, 30, 131, 140], np.int16), [0, 0, 50, 252, 255]),
        (np.array([4.9, 5.3, 30.2, np.nan, np.inf, -np.inf]), [0, 1, 50, 99, 99, 99]),
        (np.array([False, True]), [0, 0]),
    ],
)
def test_values_on_the_line_are_rounded_and_clipped(raw, expected):
    found = GreyMap(2, -10, 99)(raw)
    assert (found.tolist(), found.dtype) == (expected, np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_large_images_are_mapped_as_small_ones_are(dtype):
    """Of large ones, each possible value is computed once."""
    raw = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (300, 300)).astype(dtype)
    raw[0, :2] = 0, np.iinfo(dtype).max
    line = GreyMap(250 / np.iinfo(dtype).max, 3.2)
    for part in (slice(0, 200), slice(200, 300)):
        np.testing.assert_array_equal(line(raw)[5, part], line(raw[5, part]))
    assert line(raw)[0, :2].tolist() == [3, 253]


def test_nothing_is_copied_where_nothing_changes():
    assert GreyMap()(EIGHT_BIT) is EIGHT_BIT
    assert GreyMap(1.0, 1.0)(EIGHT_BIT) is not EIGHT_BIT
    assert GreyMap()(EIGHT_BIT.astype(np.int32)).dtype == np.uint8


def deep_noise() -> np.ndarray:
    raw = np.random.default_rng(1).normal(2000, 240, (100, 100))
    raw[20:40, 20:40] -= 900
    return raw.astype(np.uint16)


@pytest.mark.parametrize(
    ("raw", "spread"),
    [
        (deep_noise(), 7.5),  # as the rule says
        (deep_noise() * 0.37 - 9, 7.5),
        (phase_contrast(60, 0.5), 2.0),  # the least of the rule
        (phase_contrast(128, 45), 32.0),  # the most
    ],
)
def test_background_and_spread_are_what_the_rule_says(raw, spread):
    found = statistics(raw)
    for invert, background in ((False, found.background), (True, -found.background)):
        line = grey_map(raw if not invert else -raw.astype(np.float64), SARTORIUS, invert)
        assert abs(line.gain) * found.spread == pytest.approx(spread)
        assert line.gain * background + line.offset == pytest.approx(128)
        assert (line.gain < 0) == invert


def test_8_bit_values_move_by_whole_levels_only():
    rule = GreyRule(100, 7.5, background_range=(90, 110), spread_range=(2, 32))
    for background, shift in ((60, 30), (100, 0), (107.4, 0), (130.3, -20)):
        image = phase_contrast(background)
        line = grey_map(image, rule)
        assert (line.gain, line.offset) == (1, shift)


def test_an_image_of_one_value_with_some_others():
    image = np.full((100, 100), 3000.7)
    image[0, :20], image[0, 20:40] = np.linspace(2000, 2900, 20), np.linspace(4000, 9000, 20)
    assert (grey_map(image, SARTORIUS)(image)[1:] == 128).all()


def test_contrast_turned_round():
    """Of whole numbers about their range, of others about 0."""
    assert grey_map(EIGHT_BIT, AS_STORED, invert=True)(np.arange(256, dtype=np.uint8)).tolist() == [
        *range(255, -1, -1)
    ]
    either = np.array([[True, False]] * 8)
    assert grey_map(either, AS_STORED, invert=True)(either)[0].tolist() == [0, 1]


def test_training_images_make_the_rule():
    images = [phase_contrast(background, 8, seed) for seed, background in enumerate((40, 90, 200))]
    rule = estimate_rule([statistics(image) for image in images])
    assert all((grey_map(image, rule)(image) == image).all() for image in images)
    assert GreyRule.from_dict(rule.to_dict()) == rule
    assert estimate_rule([]) == SARTORIUS


def test_the_rule_of_known_statistics():
    """Medians and quantiles; ranges are rounded outwards, to hundredths."""
    found = [
        GreyStatistics(100.127, 3, -1.004),
        GreyStatistics(130.123, 9, -0.5),
        GreyStatistics(119.004, 6, 0.201),
        GreyStatistics(110.0, 12, 0.0),
        GreyStatistics(120.0, 15, 0.0),
    ]
    assert estimate_rule(found).to_dict() == {
        "background": 119.0,
        "spread": 5.4,  # below it lies a fifth
        "background_range": [100.12, 130.13],
        "spread_range": [2.0, 22.5],
        "skewness_range": [-1.11, 0.31],
    }
    assert estimate_rule([GreyStatistics(128, 0.2, 0)]).spread == 1  # flat images


def test_rules_of_checkpoints():
    rule = GreyRule(100, 5, (90, 110), (3, 20), (-2, 0.1))
    assert rule_of({"grey": rule.to_dict()}, ("cort",)) == rule
    assert rule_of({}, ("cort", "astro")) == rule_of({"grey": None}, ("shsy5y",)) == SARTORIUS
    assert rule_of({}, ("cort", "disc")) == AS_STORED
    assert "skewness_range" not in AS_STORED.to_dict()
    assert GreyRule.from_dict(AS_STORED.to_dict()) == AS_STORED


def test_the_mean_rule_of_several_models():
    rules = [GreyRule(100, 5, (90, 110), (3, 20), (-2, 0.1)), GreyRule(120, 7, (100, 130), (1, 40))]
    assert mean_rule(rules) == GreyRule(110, 6, (95, 120), (2, 30))
    assert mean_rule([rules[0], rules[0]]) is rules[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"spread": 0}, "'spread' is not above 0"),
        ({"spread": float("nan")}, "'spread' is not a number"),
        ({"spread": True}, "'spread' is not a number"),
        ({"spread_range": [-1, 5]}, "'spread' is not above 0"),
        ({"background": "128"}, "'background' is not a number"),
        ({"background": 2e6}, "'background' is not a number up to 1e6"),
        ({"background_range": [3, 2]}, "'background_range' ends below its start"),
        ({"spread_range": [1]}, "'spread_range' is not a list of two numbers"),
        ({"skewness_range": 7}, "'skewness_range' is not a list of two numbers"),
        ({"skewness_range": [0, None]}, "'skewness_range' is not a number"),
    ],
)
def test_a_rule_that_is_none(wrong, message):
    with pytest.raises(ValueError, match=f"grey: {message}"):
        GreyRule.from_dict(SARTORIUS.to_dict() | wrong)
    assert GreyRule.from_dict(SARTORIUS.to_dict() | {"background_range": [5, 5]}).spread == 7.5
