"""What tiles found becomes what is in the image: cells at seams are joined, none counts twice.

Two tiles see a cell at their seam in the pixels that both look at, or, where they do not overlap,
in the lines of pixels on both sides of the seam. Where their masks agree there it is one cell: if
one of them saw all of it, that one decides; if the edges of their windows cut it in both, their
masks together are the cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cells.instances import Candidates, Instances
from cells.masks import MASK_THRESHOLD
from cells.readers.volume import Window
from network.placed_masks import has_pixels, intersection, place_of, placed_iou, within
from network.seam_views import SeenCell, TileCells, cells_near_seams
from network.tiles import Tile, concatenate, neighbours

# IoU, in the pixels that two tiles both see, from which on they see one cell. Slivers, narrower
# than this number of pixels, are recognised by how much of them the other's mask covers.
SAME_CELL_IOU = 0.5
SLIVER = 6
BIN = 128  # pixels; cells are compared with those in the same squares of the image


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
    near = [list(cells_near_seams(part, number, image_size)) for number, part in enumerate(parts)]
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


def _groups(near: Sequence[Sequence[SeenCell]], tiles: Sequence[Tile]) -> list[list[SeenCell]]:
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
    first: Sequence[SeenCell], second: Sequence[SeenCell], one: Tile, two: Tile
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
            iou = placed_iou(mask, place, other_mask, other_place, smaller=sliver)
            if iou >= SAME_CELL_IOU:
                pairs.append((iou, (cell.part, cell.index), (other.part, other.index)))
    return sorted(pairs, reverse=True)


def _cut_out(cell: SeenCell, window: Window) -> tuple[Window, np.ndarray]:
    """What of a mask lies in a window, and where."""
    place = intersection(cell.place, window)
    return place, cell.mask[within(place, cell.place)]


def _decide(
    group: Sequence[SeenCell], parts: Sequence[TileCells], image_size: tuple[int, int]
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
    group: Sequence[SeenCell], parts: Sequence[TileCells], image_size: tuple[int, int]
) -> Instances:
    """One instance from parts of a cell: all pixels, the best score, the largest part's class."""
    found = [parts[cell.part].found.instances for cell in group]
    crops = [place_of(f, cell.index) for f, cell in zip(found, group, strict=True)]
    # what is missing up to the seam; beyond it the neighbour knows better
    filled = [intersection(cell.place, parts[cell.part].tile.own) for cell in group]
    places = [place for place in (*crops, *filled) if has_pixels(place)]
    y0, y1, x0, x1 = np.array(places).T
    hull = Window(int(y0.min()), int(y1.max()), int(x0.min()), int(x1.max()))
    soft = np.zeros((hull.y1 - hull.y0, hull.x1 - hull.x0), np.float32)
    for cell, instances, crop, fill in zip(group, found, crops, filled, strict=True):
        if has_pixels(fill):
            window = soft[within(fill, hull)]
            continued = cell.mask[within(fill, cell.place)]
            np.maximum(window, np.float32(MASK_THRESHOLD) * continued, out=window)
        window = soft[within(crop, hull)]
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
    places = [place_of(instances, index) for index in range(len(instances))]
    for i in np.argsort(-instances.scores, kind="stable").tolist():
        place = places[i]
        squares = [
            (row, column)
            for row in range(place.y0 // BIN, (place.y1 - 1) // BIN + 1)
            for column in range(place.x0 // BIN, (place.x1 - 1) // BIN + 1)
        ]
        rivals = {j for square in squares for j in bins[square]}
        if any(placed_iou(masks[i], place, masks[j], places[j]) >= iou_threshold for j in rivals):
            continue
        kept.append(i)
        for square in squares:
            bins[square].append(i)
    return np.array(kept, np.int64)
