"""Grey values and sizes of the training images, with known answers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cells.annotations import AnnotatedImage
from cells.grey import AS_STORED, SARTORIUS
from cells.rle import encode
from training import statistics
from training.statistics import describe_data, grey_statistics

GIVEN = dict(short_side=40, long_side=400, grey=SARTORIUS.to_dict())
GIVEN |= dict(pixel_mean=[1.0] * 3, pixel_std=[2.0] * 3)


def record(path: Path, size=(20, 30), sides=(), crowds=(), label=0) -> AnnotatedImage:
    masks = [np.zeros(size, bool) for _ in (*sides, *crowds)]
    for mask, side in zip(masks, (*sides, *crowds), strict=True):
        mask[:side, :side] = True
    return AnnotatedImage(
        id=path.stem,
        path=path,
        image_size=size,
        boxes=np.zeros((len(masks), 4), np.float32),
        labels=np.full(len(masks), label),
        rles=[encode(mask) for mask in masks],
        iscrowd=np.arange(len(masks)) >= len(sides),
    )


def image(path: Path, *values: tuple, size=(2, 4)) -> AnnotatedImage:
    """Columns of the given colours, as many of each."""
    pixels = np.repeat(np.array(values, np.uint8)[None], size[0], axis=0)
    cv2.imwrite(str(path), np.repeat(pixels, size[1] // len(values), axis=1))
    return record(path, size)


def test_each_image_counts_alike(tmp_path):
    """Of one image all pixels are 10 or 30, of the other, larger one all are 60."""
    first = image(tmp_path / "a.png", (10, 0, 7), (30, 0, 7))
    second = image(tmp_path / "b.png", (60, 4, 7), size=(10, 20))
    mean, std = grey_statistics([first, second], AS_STORED)
    assert mean == [40, 2, 7]
    # variance of 10, 30, 60 and 60; of 0 and 4; none, which would be no divisor
    assert std == [pytest.approx(450**0.5, abs=1e-3), 2, 1]


def test_values_are_rounded_to_thousandths(tmp_path):
    columns = [(0, 0, 0), (0, 0, 0), (10, 0, 0)]
    mean, std = grey_statistics([image(tmp_path / "a.png", *columns, size=(1, 3))], AS_STORED)
    assert (mean[0], std[0]) == (3.333, 4.714)


@pytest.mark.parametrize(("count", "step"), [(3, 1), (7, 1), (8, 2), (11, 2), (12, 3)])
def test_of_many_images_evenly_spaced_ones_are_read(tmp_path, monkeypatch, count, step):
    monkeypatch.setattr(statistics, "SAMPLE", 4)
    values = [i * i for i in range(count)]
    records = [image(tmp_path / f"{value}.png", [value] * 3) for value in values]
    mean, _ = grey_statistics(records, AS_STORED)
    assert mean[0] == pytest.approx(np.mean(values[::step]), abs=1e-3)


def test_grey_values_that_are_given_stay(tmp_path):
    found = describe_data(GIVEN, [record(tmp_path / "absent.png", sides=(9,))], ("a",))
    assert {name: found[name] for name in GIVEN} == GIVEN


@pytest.mark.parametrize("absent", ["pixel_mean", "pixel_std"])
def test_grey_values_that_are_not_given_are_both_estimated(tmp_path, absent):
    one = image(tmp_path / "a.png", (100, 110, 120), (120, 110, 100))
    found = describe_data({**GIVEN, "grey": AS_STORED.to_dict(), absent: None}, [one], ("a",))
    assert found["pixel_mean"] == [110, 110, 110]
    assert found["pixel_std"] == [10, 1, 10]


def test_the_rule_for_grey_values_is_made_where_there_is_none(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(statistics, "RULE_SAMPLE", 2)
    monkeypatch.setattr(statistics, "training_rule", lambda paths: asked.append(paths) or SARTORIUS)
    records = [record(tmp_path / f"{i}.png", sides=(9,)) for i in range(6)]
    found = describe_data({**GIVEN, "grey": None}, records, ("a",))
    assert asked == [[records[0].path, records[3].path]]
    assert found["grey"] == SARTORIUS.to_dict()


def test_scale_and_diameters_are_medians(tmp_path):
    """Crowd regions are no cells."""
    records = [
        record(tmp_path / "a.png", (20, 30), sides=(8, 8, 9), crowds=(19,), label=0),
        record(tmp_path / "b.png", (20, 50), sides=(15,), crowds=(19, 19), label=1),
        record(tmp_path / "c.png", (90, 90), sides=(15,), label=1),
    ]
    found = describe_data(GIVEN, records, ("small", "large"))
    assert found["field"] == [20, 50]
    assert found["scale"] == 2
    diameters = found["cell_diameter"]
    per_side = 2 / np.pi**0.5  # of a circle of a square's area
    assert diameters["small"] == pytest.approx(8 * per_side, abs=0.1)
    assert diameters["large"] == pytest.approx(15 * per_side, abs=0.1)
