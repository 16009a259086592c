"""How what tiles see of a cell becomes one cell: known answers for each step at a seam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import full_frames

from cells.instances import Candidates, Instances
from cells.masks import paste
from cells.readers.volume import Window
from network.merging import mask_nms
from network.placed_masks import has_pixels, intersection, lies_inside, placed_iou, within
from network.seam_views import (
    REACH,
    TileCells,
    _continued,
    _grow,
    _seen_alone,
    cells_near_seams,
)
from network.seams import BIN, SLIVER, _distinct, join_tiles
from network.tiles import tile_grid

SIZE = (40, 100)  # two tiles side by side, that meet at x = 50


def cell(y0: int, y1: int, x0: int, x1: int, score: float, label: int = 0) -> tuple:
    """A rectangle, and the score and label of an instance."""
    return Window(y0, y1, x0, x1), score, label


def seen(rows: list[tuple]) -> Instances:
    """Rectangles as instances of the whole image, each with its score as agreement."""
    places = [place for place, _, _ in rows]
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Instances(
        SIZE,
        np.array([(p.x0, p.y0, p.x1, p.y1) for p in places], np.float32).reshape(-1, 4),
        scores,
        np.array([label for _, _, label in rows], np.int64),
        [np.full((p.y1 - p.y0, p.x1 - p.x0), 0.9, np.float32) for p in places],
        np.array([(p.x0, p.y0) for p in places], np.int64).reshape(-1, 2),
        np.repeat(scores[:, None], 5, axis=1),
    )


def join(first: list[tuple], second: list[tuple], overlap: int = 0, nms: float = 0.5) -> Instances:
    """What two tiles side by side make of what each of them sees; from 0.5 on they are sure."""
    tiles = tile_grid(SIZE, (40, 50), overlap)
    parts = [
        TileCells(tile, Candidates(seen(rows), 0, 0.5))
        for tile, rows in zip(tiles, (first, second), strict=True)
    ]
    return join_tiles(parts, SIZE, nms)


def frame_of(instances: Instances, index: int = 0) -> np.ndarray:
    return paste(instances.masks[index] >= 0.5, instances.offsets[index], instances.image_size)


def rectangle(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    frame = np.zeros(SIZE, bool)
    frame[y0:y1, x0:x1] = True
    return frame


def test_halves_become_one_cell_with_the_better_score_and_the_larger_part_s_class():
    found = join([cell(10, 20, 30, 50, 0.6, 1)], [cell(10, 20, 50, 60, 0.8, 2)])
    assert len(found) == 1
    np.testing.assert_array_equal(frame_of(found), rectangle(10, 20, 30, 60))
    assert found.boxes.tolist() == [[30, 10, 60, 20]]
    assert found.scores[0] == np.float32(0.8)
    assert found.labels.tolist() == [1]
    np.testing.assert_array_equal(found.agreement, np.full((1, 5), np.float32(0.6)))


def test_what_is_missing_up_to_the_seam_is_filled():
    found = join([cell(10, 20, 30, 48, 0.6)], [cell(10, 20, 52, 70, 0.8)])
    np.testing.assert_array_equal(frame_of(found), rectangle(10, 20, 30, 70))
    assert found.masks[0].max() == np.float32(0.9)  # probabilities stay where there are any
    assert found.masks[0][:, 18:22] == pytest.approx(0.5)


@pytest.mark.parametrize(("gap", "count"), [(REACH - 1, 1), (REACH, 2)])
def test_masks_that_end_away_from_the_seam_are_two_cells(gap, count):
    rows = [cell(10, 20, 30, 50 - gap, 0.6)], [cell(10, 20, 50 + gap, 70, 0.8)]
    assert len(join(*rows)) == count


@pytest.mark.parametrize(("shift", "count"), [(0, 1), (3, 1), (4, 2), (9, 2)])
def test_halves_that_do_not_agree_along_the_seam_stay_two(shift, count):
    """Ten pixels high, moved along the seam: (10 - shift) / (10 + shift) is the IoU there."""
    found = join([cell(10, 20, 30, 50, 0.6)], [cell(10 + shift, 20 + shift, 50, 70, 0.8)])
    assert len(found) == count


@pytest.mark.parametrize(("width", "count"), [(1, 1), (SLIVER - 1, 1), (SLIVER, 2)])
def test_of_a_sliver_the_share_that_is_covered_counts(width, count):
    """Along the seam, the IoU with the cell that it belongs to is a third."""
    found = join([cell(5, 35, 20, 50, 0.9)], [cell(15, 25, 50, 50 + width, 0.6)])
    assert len(found) == count


def test_each_half_has_one_counterpart():
    """The one that fits best; the other stays alone."""
    left = [cell(10, 20, 30, 50, 0.6), cell(12, 24, 20, 50, 0.7)]
    found = join(left, [cell(10, 20, 50, 70, 0.8)])
    assert found.boxes.tolist() == [[30, 10, 70, 20], [20, 12, 50, 24]]


# windows of two tiles with an overlap of 20 end at x = 60 and begin at x = 40
def test_the_tile_that_sees_all_of_a_cell_decides():
    found = join([cell(10, 20, 46, 60, 0.9, 1)], [cell(10, 20, 46, 66, 0.6, 2)], overlap=20)
    assert found.boxes.tolist() == [[46, 10, 66, 20]]
    assert (found.scores.tolist(), found.labels.tolist()) == ([np.float32(0.6)], [2])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.6, 0.9), 0.6),
        ((0.9, 0.6), 0.9),
        ((0.4, 0.9), 0.9),
        ((0.6, 0.4), 0.6),
        ((0.4, 0.4), None),
    ],
)
def test_of_two_that_see_all_of_a_cell_the_one_in_whose_part_it_lies_decides(scores, expected):
    """If it is sure of it. The cell's centre lies at x = 49, in the left tile."""
    place = 10, 20, 44, 54
    found = join([cell(*place, scores[0], 1)], [cell(*place, scores[1], 2)], overlap=20)
    assert found.scores.tolist() == ([] if expected is None else [np.float32(expected)])
    if expected is not None:
        assert found.labels.tolist() == [1 if expected == scores[0] else 2]


@pytest.mark.parametrize(("centre", "left"), [(49, True), (50, False)])
def test_a_cell_at_the_seam_belongs_to_one_tile(centre, left):
    place = 10, 20, centre - 4, centre + 4
    found = join([cell(*place, 0.6, 1)], [cell(*place, 0.6, 2)], overlap=20)
    assert found.labels.tolist() == [1 if left else 2]


@pytest.mark.parametrize("image_size", [(80, 100), (100, 80)])
def test_the_centre_of_a_cell_lies_in_the_part_of_one_tile(image_size):
    """Tiles of half the image's long side meet at 50."""
    tall = image_size[0] == 100
    tiles = tile_grid(image_size, (50, 80) if tall else (80, 50), 20)
    for low, owner in ((43, 0), (45, 0), (46, 1), (47, 1)):
        places = (low, low + 8, 30, 40) if tall else (30, 40, low, low + 8)
        found = replace(seen([cell(*places, 0.6)]), image_size=image_size)
        parts = [TileCells(tile, Candidates(found, 0, 0.5)) for tile in tiles]
        own = [
            one.own for i, part in enumerate(parts) for one in cells_near_seams(part, i, image_size)
        ]
        assert own == [owner == 0, owner == 1]


def test_places():
    place = Window(2, 5, 3, 7)
    assert intersection(place, Window(4, 9, 0, 5)) == Window(4, 5, 3, 5)
    beside = intersection(place, Window(2, 5, 7, 9)), intersection(place, Window(5, 6, 3, 7))
    assert has_pixels(place) and not any(map(has_pixels, beside))
    assert within(place, Window(1, 9, 3, 9)) == (slice(1, 4), slice(0, 4))
    assert within(place, Window(3, 9, 5, 9)) == (slice(0, 2), slice(0, 2))
    assert lies_inside(place, place)
    for y0, y1, x0, x1 in ((1, 0, 0, 0), (0, -1, 0, 0), (0, 0, 1, 0), (0, 0, 0, -1)):
        assert not lies_inside(place, Window(2 + y0, 5 + y1, 3 + x0, 7 + x1))


def test_what_only_the_neighbour_sees_is_not_there():
    """The tile in whose part it lies sees it, too, and was not sure."""
    place = 10, 20, 44, 54  # in the left tile's part
    assert len(join([], [cell(*place, 0.9)], overlap=20)) == 0
    assert len(join([cell(*place, 0.9)], [], overlap=20)) == 1


def test_a_whole_view_that_is_not_sure_takes_the_score_of_a_sure_one():
    """The left tile's window cuts the cell; the right one sees all of it, but doubts it."""
    found = join([cell(10, 20, 46, 60, 0.9, 1)], [cell(10, 20, 46, 66, 0.3, 2)], overlap=20)
    assert found.scores.tolist() == [np.float32(0.9)]
    assert found.labels.tolist() == [2]
    assert found.boxes.tolist() == [[46, 10, 66, 20]]


def test_cells_that_overlap_at_a_seam_suppress_each_other():
    """From the IoU on; 5 of 15 columns are shared."""
    rows = [cell(0, 10, 44, 54, 0.6), cell(0, 10, 39, 49, 0.9)]
    assert join(rows, [], overlap=20, nms=0.34).scores.tolist() == pytest.approx([0.9, 0.6])
    assert join(rows, [], overlap=20, nms=1 / 3).scores.tolist() == pytest.approx([0.9])


def test_cells_away_from_seams_pass_if_they_reach_the_threshold():
    rows = [cell(0, 10, 2, 12, 0.5), cell(0, 10, 14, 20, 0.49), cell(0, 10, 3, 13, 0.7)]
    assert join(rows, []).scores.tolist() == [np.float32(0.7), 0.5]


def test_a_mask_without_foreground_at_a_seam_is_nothing():
    tiles = tile_grid(SIZE, (40, 50))
    found = seen([cell(10, 20, 40, 50, 0.9)])
    found = replace(found, masks=[np.full_like(found.masks[0], 0.49)])
    parts = [
        TileCells(tile, Candidates(part, 0, 0.5))
        for tile, part in zip(tiles, (found, found[:0]), strict=True)
    ]
    assert not any(mask.size and (mask >= 0.5).any() for mask in join_tiles(parts, SIZE, 0.5).masks)


@pytest.mark.parametrize(
    ("overlap", "expected"), [(0, (97, 143, 277)), (4, (98, 142, 278)), (16, (92, 148, 272))]
)
def test_what_no_other_tile_sees(overlap, expected):
    """The middle tile of the upper row; without the pixels near the edges of its window."""
    tile = tile_grid((200, 420), (100, 140), overlap)[1]
    alone = _seen_alone(tile, (200, 420))
    assert alone.y0 <= 0  # the image ends there
    assert (alone.y1, alone.x0, alone.x1) == expected


TRIANGLE = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], bool)


@pytest.mark.parametrize(
    ("rows", "grown"),
    [(1, [[0, 0, 1, 0, 0]]), (2, [[0, 1, 1, 1, 0]] * 2), (3, [[0, 0, 1, 0, 0]] * 3)],
)
def test_a_mask_grows_by_what_comes_near_the_edge(rows, grown):
    """Which lies rows - 1 below it; near are `REACH` pixels."""
    np.testing.assert_array_equal(_grow(TRIANGLE, rows), [*TRIANGLE, *np.array(grown, bool)])


@pytest.mark.parametrize("gap", range(REACH + 1))
@pytest.mark.parametrize("side", range(4))
def test_masks_are_continued_to_the_edges_that_cut_them(side, gap):
    """And one pixel beyond, on each side of the window alike."""
    window, height, width = Window(10, 60, 20, 90), *TRIANGLE.shape
    mask = [TRIANGLE[::-1], TRIANGLE, TRIANGLE.T[:, ::-1], TRIANGLE.T][side]
    place = [
        Window(10 + gap, 10 + gap + height, 30, 30 + width),
        Window(60 - gap - height, 60 - gap, 30, 30 + width),
        Window(30, 30 + width, 20 + gap, 20 + gap + height),
        Window(30, 30 + width, 90 - gap - height, 90 - gap),
    ][side]
    inner = tuple(edge == side for edge in range(4))
    continued, there, cut = _continued(mask, place, window, inner)
    assert cut == (gap < REACH)
    if not cut:
        assert there == place and continued is mask
        return
    grown = _grow(TRIANGLE, gap + 1)
    expected = [grown[::-1], grown, grown.T[:, ::-1], grown.T][side]
    np.testing.assert_array_equal(continued, expected)
    reached = list(place)
    reached[side] = window[side] + (1 if side % 2 else -1)
    assert there == tuple(reached)
    _, _, at_the_image_s_edge = _continued(mask, place, window, (False,) * 4)
    assert not at_the_image_s_edge


def random_masks(seed: int, size: tuple[int, int], count: int) -> Instances:
    """Rectangles with holes, as crops of a large image; most of them overlap others."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, np.array(size[::-1]) - 40, (count, 2))
    crops = [(rng.random(rng.integers(20, 40, 2)) < 0.9).astype(np.float32) for _ in range(count)]
    boxes = np.hstack([low, low]).astype(np.float32)
    scores = rng.integers(1, 9, count).astype(np.float32) / 9
    return Instances(size, boxes, scores, np.zeros(count, np.int64), crops, low)


@pytest.mark.parametrize("threshold", [0.05, 0.3])
def test_suppression_equals_that_of_an_image_of_one_tile(threshold):
    for seed in range(4):
        instances = random_masks(seed, (BIN + 60, 2 * BIN + 60), 120)
        kept = _distinct(instances, threshold).tolist()
        assert kept == mask_nms(instances, threshold).tolist()
        assert len(kept) < 110


def test_cells_share_squares_up_to_their_last_pixel():
    """Both end in the first pixel of the next square, where alone they overlap."""
    masks = np.zeros((2, BIN + 2, 4), np.float32)
    masks[:, BIN] = 1
    instances = full_frames(masks, np.array([0.9, 0.8]))
    assert _distinct(instances, 1.0).tolist() == [0]


def test_iou_equals_that_of_whole_frames():
    rng = np.random.default_rng(0)
    for _ in range(60):
        masks, places, frames = [], [], []
        for _ in range(2):
            y, x, height, width = rng.integers(0, 12, 4) + (0, 0, 1, 1)
            mask = rng.random((height, width)) < 0.6
            masks.append(mask)
            places.append(Window(int(y), int(y + height), int(x), int(x + width)))
            frames.append(paste(mask, (x, y), (30, 30)))
        shared, joined = (frames[0] & frames[1]).sum(), (frames[0] | frames[1]).sum()
        found = [
            placed_iou(masks[0], places[0], masks[1], places[1], smaller=s) for s in (False, True)
        ]
        assert found[0] == pytest.approx(shared / max(joined, 1))
        least = min(frame.sum() for frame in frames)
        assert found[1] == pytest.approx(shared / max(least, 1))
