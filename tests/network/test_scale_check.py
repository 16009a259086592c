"""The size of the cells found against the training's."""

from __future__ import annotations

import numpy as np
import pytest

from cells.instances import Instances
from network.scale_check import scale_warning, size_ratio

NAMES = ("small", "large")
USUAL = {"small": 10.0, "large": 30.0, "default": 12.0}


def squares(sides, labels):
    count = len(sides)
    return Instances(
        (500, 500),
        np.zeros((count, 4), np.float32),
        np.ones(count, np.float32),
        np.array(labels, np.int64),
        [np.ones((side, side), np.float32) for side in sides],
        np.zeros((count, 2), np.int64),
    )


def test_each_class_is_compared_with_its_own_size():
    one, two = (round(d * np.pi**0.5 / 2) for d in (10, 30))  # squares of the circles' areas
    instances = squares([one] * 6 + [two] * 6, [0] * 6 + [1] * 6)
    assert size_ratio(instances, NAMES, USUAL, 1.0) == pytest.approx(1, abs=0.03)
    assert size_ratio(instances, NAMES, USUAL, 0.5) == pytest.approx(0.5, abs=0.02)
    assert scale_warning(instances, NAMES, USUAL, 1.0) is None


def test_cells_of_another_size_are_reported_with_the_scale_that_fits():
    instances = squares([18] * 12, [0] * 12)  # twice as large as usual
    assert "--scale 0.49" in scale_warning(instances, NAMES, USUAL, 1.0)
    assert "2 times" in scale_warning(instances, NAMES, USUAL, 1.0)
    assert scale_warning(instances, NAMES, USUAL, 0.5) is None


def test_few_cells_or_unknown_sizes_say_nothing():
    assert scale_warning(squares([90] * 9, [0] * 9), NAMES, USUAL, 1.0) is None
    assert scale_warning(squares([], []), NAMES, USUAL, 1.0) is None
    assert scale_warning(squares([90] * 99, [0] * 99), NAMES, None, 1.0) is None
