"""Pictures of known cells: where which colour is."""

from __future__ import annotations

import numpy as np
import pytest

from cells.drawing import (
    LEGEND_HEIGHT,
    distinct_colors,
    draw_groups,
    draw_instances,
    enlarge,
    legend,
    stretch_contrast,
    zoom_of,
)
from cells.instances import Instances

FLAT = np.full((40, 50, 3), 128, np.uint8)  # becomes black: there is nothing to stretch


def one_square() -> Instances:
    """20 x 20 pixels from (10, 10) on, score 0.87."""
    box = np.array([[10, 10, 30, 30]], np.float32)
    score, label = np.array([0.87], np.float32), np.zeros(1, np.int64)
    return Instances(
        (40, 50), box, score, label, [np.ones((20, 20), np.float32)], box[:, :2].astype(int)
    )


def test_a_cell_has_an_outline_and_a_translucent_inside():
    picture = draw_instances(FLAT, one_square(), show_scores=False)
    assert picture.shape == (320, 400, 3)  # eight times as large
    colour = np.array(distinct_colors(1)[0])
    row = picture[160]
    np.testing.assert_array_equal(row[:77], 0)
    np.testing.assert_array_equal(row[[80, 239]], [colour, colour])
    np.testing.assert_allclose(row[90:230], np.tile(0.25 * colour, (140, 1)), atol=1)
    np.testing.assert_array_equal(row[243:], 0)
    coloured = (picture == colour).all(axis=2)
    assert coloured[160, :160].sum() == 5  # three pixels, and what smooths them
    assert not (picture == 255).all(axis=2).any()


def test_the_image_shows_through_a_cell():
    image = np.full((40, 50, 3), 100, np.uint8)
    image[:, 20:] = 230
    picture = draw_instances(image, one_square(), show_scores=False)
    colour = np.array(distinct_colors(1)[0])
    assert picture[160, 140].tolist() == pytest.approx((0.25 * colour).tolist(), abs=1)
    assert picture[160, 180].tolist() == pytest.approx((0.75 * 255 + 0.25 * colour), abs=2)
    assert picture[20, 20].tolist() == [0] * 3 and picture[20, 300].min() >= 254


def test_cells_over_each_other():
    """Fills mix, and all outlines are over all fills."""
    both = one_square()[np.array([0, 0])]
    both.offsets[1] = 18, 18
    picture = draw_instances(FLAT, both, show_scores=False)
    first, second = (np.array(colour) for colour in distinct_colors(2))
    mixed = 0.75 * (0.25 * first) + 0.25 * second
    np.testing.assert_allclose(picture[200, 200], mixed, atol=2)
    assert picture[239, 180].tolist() == first.tolist()  # its lower edge, within the second
    assert picture[200, 144].tolist() == second.tolist()


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        *(((40, 50), 8, 8), ((40, 50), 16, 16), ((500, 600), 8, 2), ((999, 1200), 8, 2)),
        *(((1000, 1200), 8, 1), ((400, 300), 8, 4), ((300, 2000), 8, 2), ((300, 5001), 8, 1)),
    ],
)
def test_by_how_much_small_images_are_enlarged(size, most, expected):
    """To a short side of 1000 pixels, as far as the long one stays within 5000."""
    assert zoom_of(size, most) == expected


def test_a_score_is_written_in_the_middle_of_its_cell():
    picture = draw_instances(FLAT, one_square())
    ys, xs = np.nonzero((picture > 200).all(axis=2))
    assert abs(xs.mean() - 160) < 4 and abs(ys.mean() - 160) < 4
    assert 12 <= np.ptp(ys) <= 18  # 16 pixels high
    nothing = draw_instances(FLAT, one_square()[:0])
    assert not nothing.any()


@pytest.mark.parametrize(("side", "height"), [(1, 8), (3, 12), (20, 16)])
def test_a_score_is_as_high_as_half_its_cell(side, height):
    """Within 8 to 16 pixels."""
    square = one_square()
    square.masks[0] = np.ones((side, side), np.float32)
    written = draw_instances(FLAT, square)
    ys, xs = np.nonzero((written != draw_instances(FLAT, square, show_scores=False)).any(axis=2))
    assert abs(np.ptp(ys) - height) <= 3  # with a black edge
    middle = 80 + 8 * side / 2
    assert abs((ys.min() + ys.max()) / 2 - middle) <= 1.5
    assert abs((xs.min() + xs.max()) / 2 - middle) <= 3  # digits begin a bit to the left


def test_large_images_are_not_enlarged():
    image = np.zeros((1000, 1200, 3), np.uint8)
    assert draw_instances(image, Instances.empty((1000, 1200))).shape == image.shape
    assert enlarge(np.eye(2, dtype=bool), 2).tolist() == [
        *([1, 1, 0, 0], [1, 1, 0, 0]),
        *([0, 0, 1, 1], [0, 0, 1, 1]),
    ]


def test_groups_and_their_legend():
    mask, red, blue = np.ones((10, 10), bool), (0, 0, 255), (255, 0, 0)
    groups = [("first", red, [(mask, (5, 5))]), ("second", blue, [(mask, (25, 5))] * 2)]
    picture = draw_groups(FLAT, "title", groups)
    zoom = 16
    assert picture.shape == (40 * zoom + LEGEND_HEIGHT, 50 * zoom, 3)
    for colour, x in ((red, 10), (blue, 30)):
        ys, xs = np.nonzero((picture[: 40 * zoom] == colour).all(axis=2))
        assert abs(xs.mean() / zoom - x) < 1 and abs(ys.mean() / zoom - 10) < 1
    # the strip counts the groups, the last one first
    strip = picture[40 * zoom :]
    first, second = (np.nonzero((strip == c).all(axis=2))[1].mean() for c in (red, blue))
    assert 8 < second < first


def test_a_mask_without_pixels_is_counted_and_not_drawn():
    nothing = np.zeros((0, 0), bool)
    picture = draw_groups(FLAT, "", [("missed", (0, 0, 255), [(nothing, (0, 0))])])
    assert not picture[:-LEGEND_HEIGHT].any()
    assert picture[-LEGEND_HEIGHT:].any()


def test_a_legend_starts_with_a_white_title():
    strip = legend(120, "AP", [("x", (0, 255, 0))])
    assert strip.shape == (32, 120, 3)
    white, green = (np.nonzero((strip == c).all(axis=2))[1] for c in ((255,) * 3, (0, 255, 0)))
    assert 8 <= white.min() <= 12
    assert 24 <= green.min() - white.max() <= 30


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(100, 120, 80), (0, 255, 255), (100, 200, 255), (7, 7, 0)]
)
def test_contrast_is_stretched_at_most_fourfold(low, high, expected):
    image = np.full((10, 10, 3), low, np.uint8)
    image[5:] = high
    stretched = stretch_contrast(image)
    assert stretched[0, 0, 0] == 0
    assert stretched[9, 9, 0] == pytest.approx(expected, abs=1)


def test_grey_values_between_are_stretched_evenly():
    image = np.repeat(np.array([[100, 125, 150, 200]] * 4, np.uint8)[:, :, None], 3, axis=2)
    assert stretch_contrast(image)[0, :3, 1].tolist() == [0, 63, 127]


def test_a_share_of_the_pixels_of_a_large_image_is_enough():
    """Every third one in either direction of an image of nine million values."""
    image = np.full((1500, 2000, 3), 100, np.uint8)
    image[::3, ::3] = np.where(np.arange(667)[:, None] < 300, 100, 200)
    image[1, 1] = 0
    assert stretch_contrast(image)[[0, 0], [0, 1999]].tolist() == [[0] * 3, [0] * 3]


def test_outliers_do_not_decide_on_the_contrast():
    image = np.full((100, 100, 3), 100, np.uint8)
    image[50:] = 200
    image[0, :20], image[99, :20] = 0, 255  # 0.2 % each
    assert stretch_contrast(image)[[40, 60], 50, 0].tolist() == pytest.approx([0, 255], abs=1)


def test_neighbouring_colours():
    assert distinct_colors(0) == []
    assert distinct_colors(3) == [(63, 63, 255), (255, 74, 0), (63, 255, 175)]
    hues = np.array(distinct_colors(12), int)
    assert np.abs(np.diff(hues, axis=0)).sum(axis=1).min() > 150
