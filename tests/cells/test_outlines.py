"""Outlines along the edges of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from cells.outlines import pixel_outlines, signed_area, to_polygons


def filled(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels inside rings by the even-odd rule: everything right of a vertical edge flips."""
    inside = np.zeros(shape, bool)
    for ring in rings:
        for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x == next_x:
                inside[min(y, next_y) : max(y, next_y), x:] ^= True
    return inside


def test_one_pixel_is_a_square():
    (ring,) = pixel_outlines(np.ones((1, 1), bool))
    assert sorted(map(tuple, ring)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert signed_area(ring) == 1
    assert pixel_outlines(np.zeros((3, 3), bool)) == []


def test_straight_sides_have_no_points_between_their_ends():
    (ring,) = pixel_outlines(np.pad(np.ones((5, 9), bool), 2))
    assert sorted(map(tuple, ring)) == [(2, 2), (2, 7), (11, 2), (11, 7)]


def test_any_mask_comes_back_from_its_simple_rings():
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = rng.random(rng.integers(1, 12, 2)) < rng.random()
        rings = pixel_outlines(mask)
        assert sum(map(signed_area, rings)) == mask.sum()
        assert (filled(rings, mask.shape) == mask).all()
        assert all(len({tuple(point) for point in ring}) == len(ring) for ring in rings)
        pieces = to_polygons(rings)
        assert sum(map(len, pieces)) == len(rings)
        for outside, *holes in pieces:
            assert signed_area(outside) > 0
            assert all(signed_area(hole) < 0 for hole in holes)
            assert filled([outside, *holes], mask.shape).sum() == signed_area(outside) + sum(
                map(signed_area, holes)
            )


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [
        (["#.", ".#"], [1, 1]),  # two pieces that touch at a corner
        (["####", "#.##", "##.#", "####"], [3]),  # two holes that touch at a corner
        # the pixel on the right is a piece: as one piece, its hole would cut it in two
        (["##.", "#.#", "##."], [1, 1]),
        (["###", "#.#", "##."], [2]),  # a ring that closes at a corner: a hole
        (["#####", "#...#", "#.#.#", "#...#", "#####"], [2, 1]),  # a piece within a hole
        (  # a ring within a ring: each has its own hole
            ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"],
            [2, 2],
        ),
    ],
)
def test_pieces_and_holes(rows, pieces):
    mask = np.array([[pixel == "#" for pixel in row] for row in rows])
    found = to_polygons(pixel_outlines(mask))
    assert sorted(map(len, found), reverse=True) == pieces
