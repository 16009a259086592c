"""Boxes and instances: chosen, joined and compared with a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import squares

from cells.instances import AGREEMENT, Boxes, Candidates, Instances, dominant_class


def test_boxes_are_counted_chosen_and_joined():
    boxes = Boxes(
        np.arange(8, dtype=np.float32).reshape(2, 4), np.array([0.5, 0.6]), np.array([1, 0])
    )
    both = Boxes.concatenate([boxes, boxes[np.array([1])]])
    assert (len(boxes), len(both)) == (2, 3)
    assert both.scores.tolist() == [0.5, 0.6, 0.6]
    assert both.labels.tolist() == [1, 0, 0]
    assert both.boxes[2].tolist() == [4, 5, 6, 7]


def test_instances_are_chosen_together():
    instances = squares((0, 0), (2, 0), (8, 6), scores=[0.5, 0.9, 0.7])
    assert len(instances) == 3
    for chosen in (instances[instances.scores > 0.6], instances[1:], instances[np.array([1, 2])]):
        assert chosen.offsets.tolist() == [[2, 0], [8, 6]]
        assert chosen.boxes.tolist() == [[2, 0, 6, 4], [8, 6, 12, 10]]
        assert len(chosen.masks) == len(chosen.labels) == len(chosen.agreement) == 2
        assert chosen.image_size == instances.image_size
    with pytest.raises(ValueError, match="different lengths"):
        squares((0, 0), scores=[0.5, 0.6])


def test_best_first_and_of_equal_scores_the_earlier_one():
    instances = squares((0, 0), (1, 0), (2, 0), (3, 0), scores=[0.5, 0.9, 0.5, 0.9])
    assert instances.sorted_by_score().offsets[:, 0].tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("instances", [Instances.empty((30, 40)), squares((0, 0), scores=[1])])
def test_shapes_and_kinds_of_values(instances):
    count = len(instances)
    assert instances.boxes.shape == (count, 4) and instances.boxes.dtype == np.float32
    assert instances.scores.shape == (count,) and instances.scores.dtype == np.float32
    assert instances.labels.shape == (count,) and instances.labels.dtype == np.int64
    assert instances.offsets.shape == (count, 2) and instances.offsets.dtype == np.int64
    assert instances.agreement.shape == (count, len(AGREEMENT))
    assert np.isnan(instances.agreement).all()


def test_a_score_of_exactly_the_threshold_counts():
    instances = squares((0, 0), (2, 0), (8, 6), scores=[0.7, 0.1, 0.6])
    assert Candidates(instances, 0, 0.7).kept.scores.tolist() == pytest.approx([0.7])
    assert len(Candidates(instances, 0, 0.71).kept) == 0


@pytest.mark.parametrize(("labels", "expected"), [([2, 0, 0, 2], 0), ([2, 1, 2], 2), ([], 0)])
def test_the_most_frequent_class(labels, expected):
    assert dominant_class(np.array(labels, np.int64)) == expected
