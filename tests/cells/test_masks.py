"""Crops and label images against known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import squares

from cells.instances import Instances
from cells.masks import (
    drawn_at,
    find_outlines,
    label_image,
    paste,
    tight_crop,
    visible_crops,
    window_of,
)


def test_label_image_gives_pixels_to_the_best_score():
    labels = label_image(squares((0, 0), (2, 0), scores=[0.5, 0.9]))
    assert labels[0].tolist() == [1, 1, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    assert (labels == 1).sum() == 8
    assert (labels == 2).sum() == 16
    assert not label_image(Instances.empty((3, 4))).any()


def test_one_pixel_masks():
    instances = squares((3, 2), scores=[0.9], size=1)
    assert label_image(instances).sum() == 1


def test_of_equal_scores_the_first_is_on_top():
    instances = squares((0, 0), (2, 0), scores=[0.5, 0.5])
    assert label_image(instances)[0, :7].tolist() == [1, 1, 1, 1, 2, 2, 0]
    assert visible_crops(instances)[1][0].tolist() == [False, False, True, True]


def test_pixels_of_the_threshold_and_more_are_foreground():
    mask = np.array([[0, 0.3, np.nextafter(np.float32(0.5), np.float32(0)), 0.5, 1]], np.float32)
    instances = replace(squares((2, 3), scores=[0.9]), masks=[mask])
    assert label_image(instances)[3, 2:7].tolist() == [0, 0, 0, 1, 1]
    assert label_image(instances, 0.3)[3, 2:7].tolist() == [0, 1, 1, 1, 1]


def test_visible_crops_are_what_the_label_image_shows():
    rng = np.random.default_rng(0)
    for _ in range(30):
        count = int(rng.integers(0, 25))
        sizes = rng.integers(1, 9, (count, 2))
        offsets = rng.integers(0, (40 - 9, 30 - 9), (count, 2))
        instances = Instances(
            (30, 40),
            np.zeros((count, 4), np.float32),
            rng.choice([0.5, 0.6, 0.7], count).astype(np.float32),  # equal scores, too
            np.zeros(count, np.int64),
            [rng.random(size).astype(np.float32) for size in sizes],
            offsets,
        )
        expected = label_image(instances)
        for i, crop in enumerate(visible_crops(instances)):
            assert (paste(crop, offsets[i], (30, 40)) == (expected == i + 1)).all()


def test_tight_crops():
    mask = np.zeros((5, 7), bool)
    assert tight_crop(mask, (3, 4)).offset == (3, 4)
    assert tight_crop(mask, (3, 4)).mask.shape == (0, 0)
    assert tight_crop(mask[:0], (3, 4)).mask.shape == (0, 0)
    mask[1:3, 2:6] = np.eye(2, 4, dtype=bool)
    crop = tight_crop(mask[:, 1:], (11, 20))
    assert crop.offset == (12, 21)
    np.testing.assert_array_equal(crop.mask, np.eye(2, dtype=bool))
    frame = np.zeros((30, 40), bool)
    frame[window_of(*crop)] |= crop.mask
    assert np.argwhere(frame).tolist() == [[21, 12], [22, 13]]
    np.testing.assert_array_equal(paste(*crop, (30, 40)), frame)


def test_outlines_of_pieces_largest_first():
    mask = np.zeros((8, 12), bool)
    mask[1:3, 1:3] = True
    mask[2:7, 5:10] = True
    mask[4, 7] = False  # a hole is not outlined
    large, small = find_outlines(mask, (100, 200))
    assert large.reshape(-1, 2).tolist() == [[105, 202], [105, 206], [109, 206], [109, 202]]
    assert small.reshape(-1, 2).tolist() == [[101, 201], [101, 202], [102, 202], [102, 201]]
    assert find_outlines(mask[:0]) == []
    assert find_outlines(np.zeros((2, 2), bool)) == []


def test_drawing_at_another_threshold_moves_the_probabilities():
    mask = np.array([[0, 0.15, 0.3, 0.65, 1]], np.float32)
    instances = replace(squares((0, 0), scores=[0.9]), masks=[mask])
    assert drawn_at(instances, 0.5) is instances
    assert drawn_at(instances, 0.3).masks[0][0].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("threshold", [0.3, 0.45, 0.55, 0.7])
def test_drawing_keeps_probabilities_probabilities(threshold):
    """Sure pixels stay within 0 to 1: prediction files hold them as whole numbers."""
    limit = np.float32(threshold)
    mask = np.array([[0, 0.1, np.nextafter(limit, np.float32(0)), limit, 0.9, 1]], np.float32)
    instances = replace(squares((0, 0), scores=[0.9]), masks=[mask])
    (drawn,) = drawn_at(instances, threshold).masks
    assert drawn.dtype == np.float32
    assert (drawn[0, 0], drawn[0, -1]) == (0, 1)
    assert (np.diff(drawn[0]) > 0).all()
    assert ((drawn >= 0.5) == (mask >= limit)).all()
