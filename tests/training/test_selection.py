"""Thresholds chosen on known predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cells.annotations import AnnotatedImage
from cells.grey import AS_STORED
from cells.instances import Candidates, Instances
from cells.rle import to_rle
from evaluation.thresholds import CONFIDENCES, ImageCurve
from training import selection
from training.selection import Selection, _choose, select

SIZE = (40, 40)


def square(x: int, y: int, side: int) -> list[list[float]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def record(label: int) -> AnnotatedImage:
    """One image with a square of 16 pixels at (4, 4) and another at (4, 22)."""
    rles = [to_rle(square(4, y, 16), *SIZE) for y in (4, 22)]
    boxes = np.array([[4, 4, 20, 20], [4, 22, 20, 38]], np.float32)
    return AnnotatedImage(
        id=f"image{label}",
        path=Path("nowhere.png"),
        image_size=SIZE,
        labels=np.array([label] * 2),
        rles=rles,
        iscrowd=np.zeros(2, bool),
        boxes=boxes,
    )


class Fake:
    """Finds both squares, of scores 0.9 and 0.6, and a wrong one of 0.4.

    Pixels of the squares have a probability of 0.47 in an image of class a, so that only lower mask
    thresholds draw them, and of 0.8 in one of class b, with a margin of 0.58.
    """

    class_names = ("a", "b")
    grey_rule = AS_STORED
    post_processing = SimpleNamespace(confidence={"default": 0.7})

    def candidates(self, image: np.ndarray, least_score: float) -> Candidates:
        label = int(image[0, 0, 0])
        inside = np.full((16, 16), (0.47, 0.8)[label], np.float32)
        square = np.pad(inside, 2, constant_values=(0.0, 0.58)[label])
        crops = [square, square, np.ones((8, 8), np.float32)]
        offsets = np.array([[2, 2], [2, 20], [30, 0]])
        boxes = np.concatenate([offsets, offsets + 16], axis=1).astype(np.float32)
        scores = np.array([0.9, 0.6, 0.4], np.float32)
        found = Instances(SIZE, boxes, scores, np.full(3, label), crops, offsets)
        return Candidates(found, label, 0.7)


@pytest.fixture
def found(monkeypatch):
    """Both classes decide about one image each."""

    def each(function, records, rank, world, grey_rule):
        assert (rank, world, grey_rule) == (0, 1, AS_STORED)
        images = [np.full((*SIZE, 3), r.labels[0], np.uint8) for r in records]
        return [function(r, image) for r, image in zip(records, images, strict=True)]

    monkeypatch.setattr(selection, "for_each_image", each)
    return select(Fake(), [record(0), record(1)])


def test_thresholds_between_the_right_and_the_wrong_are_chosen(found):
    assert 0.4 < found.confidence["a"] <= 0.6
    assert 0.4 < found.confidence["b"] <= 0.6
    # of a, 0.5 draws none of the squares, and 0.4 no other ones; of b, 0.55 draws too much
    assert found.mask_threshold == {"a": 0.45, "b": 0.6, "default": 0.5}
    assert found.score == pytest.approx(1.0)
    assert found.confidence["default"] == 0.7


def test_of_equally_good_mask_thresholds_the_usual_one_is_chosen(monkeypatch):
    class Sure(Fake):
        def candidates(self, image, least_score):
            found = super().candidates(image, least_score)
            masks = [(mask > 0).astype(np.float32) for mask in found.instances.masks]
            return replace(found, instances=replace(found.instances, masks=masks))

    image = np.zeros((*SIZE, 3), np.uint8)
    each = lambda function, records, *_: [function(r, image) for r in records]  # noqa: E731
    monkeypatch.setattr(selection, "for_each_image", each)
    assert select(Sure(), [record(0)]).mask_threshold == {"a": 0.5, "default": 0.5}


def choose(labels: list[int | None], deciding: list[int], columns: list[int]) -> Selection:
    """Of images of these types (None: no cell), with the score 1 at one threshold and 0.5 at 0.3.

    Args:
        labels: true type of each image.
        deciding: class that decides about it.
        columns: of `CONFIDENCES`.
    """
    curves, records = [], []
    for label, decides, column in zip(labels, deciding, columns, strict=True):
        ap = np.zeros(len(CONFIDENCES))
        ap[25], ap[column] = 0.5, 1
        curves.append(ImageCurve(decides, 0.3, 0.5, ap, np.zeros((3, len(ap)), int)))
        empty = replace(record(0), labels=np.zeros(0, int), rles=[], iscrowd=np.zeros(0, bool))
        records.append(empty if label is None else record(label))
    return _choose({0.5: curves}, records, ("a", "b"), {"a": 0.3, "b": 0.3, "default": 0.6})


def test_each_class_gets_its_threshold_and_each_type_its_score():
    found = choose([0, 1, None], [0, 1, 1], [0, 94, 94])
    assert found.confidence == {"a": 0.05, "b": 0.99, "default": 0.6}
    assert found.score == 1
    assert found.table["images"].to_dict() == {"a": 1, "b": 1, "all": 3}
    # two images of a, of which b decides about one, and is better off with its present threshold
    found = choose([0, 0, 1, None], [0, 1, 1, 1], [10, 5, 50, 60])
    assert found.confidence["a"] == pytest.approx(0.15)
    assert found.confidence["b"] == pytest.approx(0.3)
    assert found.table["mAP"].to_dict() == {"a": 0.75, "b": 0.5, "all": 0.625}


def test_a_class_that_decides_about_no_image_keeps_its_threshold():
    assert choose([0, 1], [0, 0], [40, 40]).confidence == {"a": 0.45, "b": 0.3, "default": 0.6}


def test_the_table_has_a_row_for_each_true_type(found):
    assert found.table.index.tolist() == ["a", "b", "all"]
    assert found.table["images"].tolist() == [1, 1, 2]
