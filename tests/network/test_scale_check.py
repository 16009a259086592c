"""The size of the cells found against the training's."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cells.instances import Instances
from cells.pictures import ArrayPicture
from network.scale_check import scale_warning, size_ratio
from network.scale_estimate import estimate_scale
from utils.script import InputError

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
    assert scale_warning(squares([90] * 5, [0] * 5), NAMES, USUAL, 1.0) is None
    assert scale_warning(squares([], []), NAMES, USUAL, 1.0) is None
    assert scale_warning(squares([90] * 99, [0] * 99), NAMES, None, 1.0) is None


class Looking:
    """An ensemble that is sure of cells that come out in the training's size, and finds more of
    some size in anything."""

    class_names = NAMES

    def __init__(self, true_scale, cells=12):
        inference = {"scale": 1.0, "field": (100, 100), "cell_diameter": USUAL}
        self.views = [SimpleNamespace(detector=SimpleNamespace(inference=inference))]
        self.true_scale = true_scale
        self.cells = cells
        self.sizes = []

    def prepare(self, image, timer, image_scale):
        self.sizes.append(image.shape[:2])
        return [(image.shape[:2], image_scale)]

    def detect(self, prepared, timer):
        return [one for (one,) in prepared]

    def finish(self, found, timer):
        seen = found[1] / self.true_scale  # how large cells look; masks follow half of the way
        side = max(1, round(10 * np.sqrt(np.pi) / 2 * seen**0.5 / found[1]))
        instances = squares([side] * self.cells, [0] * self.cells)
        score = 0.9 * np.exp(-(np.log(seen) ** 2))
        return replace(instances, scores=np.full(self.cells, score, np.float32))


@pytest.mark.parametrize("true_scale", [0.25, 0.5, 0.6, 1.0, 1.5, 3.0])
def test_the_scale_is_found(true_scale):
    picture = ArrayPicture(np.zeros((300, 400, 3), np.uint8))
    ensemble = Looking(true_scale)
    assert estimate_scale(ensemble, picture) == pytest.approx(true_scale, rel=0.25)
    assert len(ensemble.sizes) == 7
    assert ensemble.sizes[2] == (100, 100)  # a training field at scale 1
    assert ensemble.sizes[0] == (300, 400)  # all there is where that is less


def test_no_scale_without_cells():
    picture = ArrayPicture(np.zeros((300, 400, 3), np.uint8))
    with pytest.raises(InputError, match="--estimate_scale"):
        estimate_scale(Looking(1.0, cells=2), picture)
    unknowing = Looking(1.0)
    unknowing.views[0].detector.inference.pop("cell_diameter")
    with pytest.raises(InputError, match="--scale"):
        estimate_scale(unknowing, picture)
