"""What tiles found becomes what is in the image: cells at seams are joined, none counts twice.

Two tiles see a cell at their seam in the pixels that both look at, or, where they do not overlap,
in the lines of pixels on both sides of the seam. Where their masks agree there it is one cell: if
one of them saw all of it, that one decides; if the edges of their windows cut it in both, their
masks together are the cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cells.instances import Candidates, Instances
from cells.masks import MASK_THRESHOLD, tight_crop
from cells.readers.volume import Window
from network.tiles import Tile, concatenate, neighbours

# IoU, in the pixels that two tiles both see, from which on they see one cell. Slivers, narrower
# than this number of pixels, are recognised by how much of them the other's mask covers.
SAME_CELL_IOU = 0.5
SLIVER = 6
# A mask that ends this many pixels from the edge of its window is cut by it: masks fade there.
REACH = 3
BIN = 128  # pixels; cells are compared with those in the same squares of the image


@dataclass(frozen=True)
class TileCells:
    """What was found in one tile.

    Attributes:
        tile: where.
        found: candidates in the frame of the whole image; none of them suppresses another.
    """

    tile: Tile
    found: Candidates


@dataclass(frozen=True)
class _Seen:
    """A cell as a tile sees it that may reach into what other tiles see.

    Attributes:
        part: position of its tile in the list.
        index: of the candidate.
        place: of `mask` in the image.
        mask: foreground, bool; continued to the edges that cut it and one pixel beyond.
        cut: the tile's window ends where the cell does not.
        own: its centre lies in the tile's own part.
        score: of the candidate.
        counts: the score reaches the tile's threshold.
    """

    part: int
    index: int
    place: Window
    mask: np.ndarray
    cut: bool
    own: bool
    score: float
    counts: bool


def join_tiles(
    parts: Sequence[TileCells], image_size: tuple[int, int], mask_nms_iou: float
) -> Instances:
    """The cells of an image from those of its tiles.

    Args:
        parts: of all tiles of a grid. Besides candidates that reach the tile's threshold there may
            be weaker ones: they count as parts of cells that another tile is sure of.
        image_size: (height, width) in pixels.
        mask_nms_iou: of two cells that overlap by this IoU the better one stays.

    Returns:
        In the frame of the image, highest score first.
    """
    near = [list(_near_seams(part, number, image_size)) for number, part in enumerate(parts)]
    inside = [
        _counting(part.found, [cell.index for cell in cells])
        for part, cells in zip(parts, near, strict=True)
    ]
    groups = _groups(near, [part.tile for part in parts])
    decided = [_decide(group, parts, image_size) for group in groups]
    at_seams = concatenate([cell for cell in decided if cell is not None], image_size)
    at_seams = at_seams[_distinct(at_seams, mask_nms_iou)]
    return concatenate([*inside, at_seams], image_size).sorted_by_score()


def _counting(found: Candidates, without: Sequence[int]) -> Instances:
    """Candidates that reach the threshold, except for some."""
    counts = found.instances.scores >= np.float32(found.threshold)
    counts[list(without)] = False
    return found.instances[counts]


def _near_seams(part: TileCells, number: int, image_size: tuple[int, int]) -> Iterator[_Seen]:
    """The candidates of a tile that reach what another tile sees, or its window's edge."""
    tile, instances = part.tile, part.found.instances
    alone, inner = _seen_alone(tile, image_size), _inner_edges(tile, image_size)
    for index, soft in enumerate(instances.masks):
        place = _place(instances, index)
        if _inside(place, alone):
            continue
        mask = soft >= MASK_THRESHOLD
        if not mask.any():
            continue
        mask, place = _tight(mask, place)
        centre_y, centre_x = (place.y0 + place.y1) / 2, (place.x0 + place.x1) / 2
        own = tile.own.y0 <= centre_y < tile.own.y1 and tile.own.x0 <= centre_x < tile.own.x1
        mask, place, cut = _continued(mask, place, tile.window, inner)
        score = instances.scores[index]
        counts = bool(score >= np.float32(part.found.threshold))
        yield _Seen(number, index, place, mask, cut, own, float(score), counts)


def _place(instances: Instances, index: int) -> Window:
    """Where an instance's crop lies."""
    (height, width), (x, y) = instances.masks[index].shape, instances.offsets[index].tolist()
    return Window(y, y + height, x, x + width)


def _inner_edges(tile: Tile, image_size: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Whether the window's y0, y1, x0 and x1 lie inside the image."""
    y0, y1, x0, x1 = tile.window
    return y0 > 0, y1 < image_size[0], x0 > 0, x1 < image_size[1]


def _seen_alone(tile: Tile, image_size: tuple[int, int]) -> Window:
    """What no other tile sees, without the pixels whose masks count as cut by the window."""
    own, window = tile.own, tile.window
    y0, y1, x0, x1 = _inner_edges(tile, image_size)
    far = max(image_size)
    return Window(
        max(2 * own.y0 - window.y0, window.y0 + REACH) if y0 else -far,
        min(2 * own.y1 - window.y1, window.y1 - REACH) if y1 else far,
        max(2 * own.x0 - window.x0, window.x0 + REACH) if x0 else -far,
        min(2 * own.x1 - window.x1, window.x1 - REACH) if x1 else far,
    )


def _inside(place: Window, other: Window) -> bool:
    return (
        place.y0 >= other.y0
        and place.y1 <= other.y1
        and place.x0 >= other.x0
        and place.x1 <= other.x1
    )


def _tight(mask: np.ndarray, place: Window) -> tuple[np.ndarray, Window]:
    """The mask within the box of its foreground, and this box."""
    crop, (x, y) = tight_crop(mask, (place.x0, place.y0))
    height, width = crop.shape
    return crop, Window(y, y + height, x, x + width)


def _continued(
    mask: np.ndarray, place: Window, window: Window, inner: tuple[bool, bool, bool, bool]
) -> tuple[np.ndarray, Window, bool]:
    """A tight mask with what is missing of it up to the edges that cut it, and a pixel beyond.

    Returns:
        The mask, its place, and whether any edge cuts it.
    """
    gaps = (
        place.y0 - window.y0,
        window.y1 - place.y1,
        place.x0 - window.x0,
        window.x1 - place.x1,
    )
    y0, y1, x0, x1 = (
        gap + 1 if edge and gap < REACH else 0 for gap, edge in zip(gaps, inner, strict=True)
    )
    if y0:
        mask = _grow(mask[::-1], y0)[::-1]
    if y1:
        mask = _grow(mask, y1)
    if x0:
        mask = _grow(mask.T[::-1], x0)[::-1].T
    if x1:
        mask = _grow(mask.T, x1).T
    place = Window(place.y0 - y0, place.y1 + y1, place.x0 - x0, place.x1 + x1)
    return mask, place, bool(y0 or y1 or x0 or x1)


def _grow(mask: np.ndarray, rows: int) -> np.ndarray:
    """A mask with more rows below, in which what comes near the edge goes on."""
    depth = 1 if rows == 1 else REACH + 1 - rows  # the edge lies rows - 1 below the mask
    near = mask[-depth:].any(axis=0)
    return np.concatenate([mask, np.repeat(near[None], rows, axis=0)])


def _groups(near: Sequence[Sequence[_Seen]], tiles: Sequence[Tile]) -> list[list[_Seen]]:
    """Cells as several tiles see them; in a neighbour's view each has at most one counterpart."""
    parent = {(cell.part, cell.index): (cell.part, cell.index) for cells in near for cell in cells}

    def root(key: tuple[int, int]) -> tuple[int, int]:
        while parent[key] != key:
            parent[key] = key = parent[parent[key]]
        return key

    for one, two in neighbours(tiles):
        taken = set()
        for _, first, second in _same_cells(near[one], near[two], tiles[one], tiles[two]):
            if not taken & {first, second}:
                taken |= {first, second}
                parent[root(first)] = root(second)
    groups = defaultdict(list)
    for cells in near:
        for cell in cells:
            groups[root((cell.part, cell.index))].append(cell)
    return list(groups.values())


def _same_cells(
    first: Sequence[_Seen], second: Sequence[_Seen], one: Tile, two: Tile
) -> list[tuple[float, tuple[int, int], tuple[int, int]]]:
    """Pairs that agree where both tiles see them, as (IoU, key, key), the best first."""
    a, b = one.window, two.window
    shared = Window(  # a pixel more on each side, which continued masks have, too
        max(a.y0, b.y0) - 1, min(a.y1, b.y1) + 1, max(a.x0, b.x0) - 1, min(a.x1, b.x1) + 1
    )
    there = [(cell, *_cut_out(cell, shared)) for cell in second]
    there = [(cell, place, mask) for cell, place, mask in there if mask.any()]
    pairs = []
    for cell in first:
        place, mask = _cut_out(cell, shared)
        if not mask.any():
            continue
        for other, other_place, other_mask in there:
            sliver = min(*cell.mask.shape, *other.mask.shape) <= SLIVER  # continued by one
            iou = _iou(mask, place, other_mask, other_place, smaller=sliver)
            if iou >= SAME_CELL_IOU:
                pairs.append((iou, (cell.part, cell.index), (other.part, other.index)))
    return sorted(pairs, reverse=True)


def _cut_out(cell: _Seen, window: Window) -> tuple[Window, np.ndarray]:
    """What of a mask lies in a window, and where."""
    place = _intersection(cell.place, window)
    return place, cell.mask[_within(place, cell.place)]


def _intersection(one: Window, two: Window) -> Window:
    """The pixels of both; of no extent where there are none."""
    y0, x0 = max(one.y0, two.y0), max(one.x0, two.x0)
    return Window(y0, max(min(one.y1, two.y1), y0), x0, max(min(one.x1, two.x1), x0))


def _area(place: Window) -> int:
    return (place.y1 - place.y0) * (place.x1 - place.x0)


def _within(place: Window, frame: Window) -> tuple[slice, slice]:
    """Rows and columns of a place inside a frame, in the frame's own pixels."""
    return (
        slice(max(place.y0 - frame.y0, 0), max(place.y1 - frame.y0, 0)),
        slice(max(place.x0 - frame.x0, 0), max(place.x1 - frame.x0, 0)),
    )


def _iou(
    one: np.ndarray, at: Window, two: np.ndarray, other: Window, smaller: bool = False
) -> float:
    """IoU of two masks at their places, or what they share as a part of the smaller one."""
    both = _intersection(at, other)
    shared = np.count_nonzero(one[_within(both, at)] & two[_within(both, other)])
    areas = np.count_nonzero(one), np.count_nonzero(two)
    return shared / (min(areas) if smaller else sum(areas) - shared) if shared else 0.0


def _decide(
    group: Sequence[_Seen], parts: Sequence[TileCells], image_size: tuple[int, int]
) -> Instances | None:
    """The one cell that a group is, or None where no tile is sure enough of it."""
    sure = [cell for cell in group if cell.counts]
    whole = [cell for cell in group if not cell.cut]
    if not sure:
        return None
    if len(group) > 1 and not whole:
        return _union(group, parts, image_size)
    best = max(whole or group, key=lambda cell: (cell.counts, cell.own, cell.score))
    if len(group) == 1 and not best.own:
        return None  # the tile in whose part it lies saw it and was not sure
    found = parts[best.part].found.instances[[best.index]]
    if best.counts:
        return found
    return replace(found, scores=np.array([max(cell.score for cell in sure)], np.float32))


def _union(
    group: Sequence[_Seen], parts: Sequence[TileCells], image_size: tuple[int, int]
) -> Instances:
    """One instance from parts of a cell: all pixels, the best score, the largest part's class."""
    found = [parts[cell.part].found.instances for cell in group]
    crops = [_place(f, cell.index) for f, cell in zip(found, group, strict=True)]
    # what is missing up to the seam; beyond it the neighbour knows better
    filled = [_intersection(cell.place, parts[cell.part].tile.own) for cell in group]
    places = [place for place in (*crops, *filled) if _area(place)]
    y0, y1, x0, x1 = np.array(places).T
    hull = Window(int(y0.min()), int(y1.max()), int(x0.min()), int(x1.max()))
    soft = np.zeros((hull.y1 - hull.y0, hull.x1 - hull.x0), np.float32)
    for cell, instances, crop, fill in zip(group, found, crops, filled, strict=True):
        if _area(fill):
            window = soft[_within(fill, hull)]
            continued = cell.mask[_within(fill, cell.place)]
            np.maximum(window, np.float32(MASK_THRESHOLD) * continued, out=window)
        window = soft[_within(crop, hull)]
        np.maximum(window, instances.masks[cell.index], out=window)
    largest = max(range(len(group)), key=lambda i: np.count_nonzero(group[i].mask))
    boxes = np.array([f.boxes[cell.index] for f, cell in zip(found, group, strict=True)])
    return Instances(
        image_size,
        np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None],
        np.array([max(cell.score for cell in group)], np.float32),
        found[largest].labels[[group[largest].index]],
        [soft],
        np.array([[hull.x0, hull.y0]], np.int64),
        found[largest].agreement[[group[largest].index]],
    )


def _distinct(instances: Instances, iou_threshold: float) -> np.ndarray:
    """Greedy mask NMS like `mask_nms`, without anything of the size of the image."""
    kept: list[int] = []
    bins: dict[tuple[int, int], list[int]] = defaultdict(list)
    masks = [mask >= MASK_THRESHOLD for mask in instances.masks]
    places = [_place(instances, index) for index in range(len(instances))]
    for i in np.argsort(-instances.scores, kind="stable").tolist():
        place = places[i]
        squares = [
            (row, column)
            for row in range(place.y0 // BIN, (place.y1 - 1) // BIN + 1)
            for column in range(place.x0 // BIN, (place.x1 - 1) // BIN + 1)
        ]
        rivals = {j for square in squares for j in bins[square]}
        if any(_iou(masks[i], place, masks[j], places[j]) >= iou_threshold for j in rivals):
            continue
        kept.append(i)
        for square in squares:
            bins[square].append(i)
    return np.array(kept, np.int64)
