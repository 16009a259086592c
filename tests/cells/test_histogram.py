"""What the values of an image say: statistics against their definition, borders, even levels."""

from __future__ import annotations

import numpy as np
import pytest

from cells.histogram import CLIPPED, Histogram


def noise(background: float = 128, spread: float = 6) -> np.ndarray:
    """uint8 [100, 150], with a dark cell."""
    image = np.random.default_rng(0).normal(background, spread, (100, 150))
    image[30:40, 50:70] -= 5 * spread
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def framed(image: np.ndarray, left: int, right: int) -> np.ndarray:
    """With 20 columns of a value on either side."""
    columns = [np.full((len(image), 20), value, image.dtype) for value in (left, right)]
    return np.hstack([columns[0], image, columns[1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_each_value_and_how_often_it_occurs(dtype):
    found = Histogram.of(np.array([[5, 3, 200], [200, 5, 200]], dtype))
    assert (found.values.tolist(), found.counts.tolist()) == ([3, 5, 200], [1, 2, 3])
    assert len(found) == 3
    turned = found.reflected(255)
    assert (turned.values.tolist(), turned.counts.tolist()) == ([55, 250, 252], [3, 2, 1])


def test_values_that_are_not_finite_are_left_out():
    found = Histogram.of(np.array([np.nan, 2.5, np.inf, 2.5, -np.inf]))
    assert (found.values.tolist(), found.counts.tolist()) == ([2.5], [2])


@pytest.mark.parametrize("factor", [1, -0.01])
def test_statistics_are_those_of_clipped_values(factor):
    values = noise() * factor
    low, high = np.quantile(values, CLIPPED, method="inverted_cdf")
    clipped = np.clip(values, low, high)
    found = Histogram.of(values).statistics()
    assert found.background == pytest.approx(clipped.mean())
    assert found.spread == pytest.approx(clipped.std())
    assert found.skewness == pytest.approx(
        (((clipped - clipped.mean()) / clipped.std()) ** 3).mean()
    )
    assert found.skewness * factor < 0  # the cell is darker


def test_no_value_and_one_value():
    assert Histogram.of(np.zeros(0)).statistics() == Histogram.of(np.full(3, np.nan)).statistics()
    for image, expected in ((np.zeros(0), 0), (np.full(9, 7.5), 7.5)):
        found = Histogram.of(image).statistics()
        assert (found.background, found.spread, found.skewness) == (expected, 0, 0)


def test_a_few_other_pixels_are_no_spread():
    for value in (1000.3, 1e6, 0.1):
        image = np.full(3000, value)
        image[:3], image[3:6] = value * 0.99, value * 1.01
        found = Histogram.of(image).statistics()
        assert found.background == pytest.approx(value)
        assert (found.spread, found.skewness) == (0, 0)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (255, 255), (0, 255)])
def test_a_border_is_left_out(left, right):
    image = noise()
    found = Histogram.of(framed(image, left, right)).without_border()
    assert found.values.tolist() == np.unique(image).tolist()
    assert found.counts.sum() == image.size


def test_a_flat_image_in_a_border():
    for right in (0, 255):
        flat = framed(np.full((100, 150), 128, np.uint8), 0, right)
        assert Histogram.of(flat).without_border().values.tolist() == [128]


def test_what_is_no_border():
    hot = noise()
    hot[0, :100], hot[1, :100] = 255, 0  # 0.7 % each
    dark = noise(4, 4)  # cut off at zero, as much as one is
    assert (dark == 0).mean() > 0.1
    for image in (hot, dark, np.full((9, 9), 3)):
        assert Histogram.of(image).without_border().values.tolist() == np.unique(image).tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 10, 11], (1, 0)),
        (np.arange(256), (1, 0)),
        (np.arange(257), None),
        (np.arange(1, 257), (1, 1)),  # one more than 8 bits hold
        ([0, 257, 65535], (257, 0)),
        (np.array([0, 7, 255]) / 255, (1 / 255, 0)),
        ([257 * 3], (257, 0)),
        ([300.5], None),
        ([], None),
        ([0, 400, 1200, 1600], (400, 0)),
        ([4000, 4004, 4012, 4016], (4, 4000)),  # more than 255 steps from zero
        ([-4, 0, 8], (4, -4)),
        ([0.25, 0.5, 1.25], (0.25, 0)),
        ([1000.1, 1010.1, 1040.1], (10, 1000.1)),
        (np.rint(np.arange(200) * (65535 / 199)), (65535 / 199, 0)),  # off by up to a half
        (np.arange(200) * 3.3 + 0.2 * (np.arange(200) % 2), None),  # fractions are not off
        ([1000, 1300, 2000, 2100, 2250], None),
    ],
)
def test_step_and_zero_of_even_levels(values, expected):
    found = Histogram.of(np.asarray(values, float)).even_levels()
    assert found == (expected if expected is None else pytest.approx(expected))
