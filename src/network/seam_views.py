"""What a tile sees of the cells that reach into what other tiles see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cells.instances import Candidates
from cells.masks import MASK_THRESHOLD
from cells.readers.volume import Window
from network.placed_masks import lies_inside, place_of, tighten
from network.tiles import Tile

# A mask that ends this many pixels from the edge of its window is cut by it: masks fade there.
REACH = 3


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
class SeenCell:
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


def cells_near_seams(
    part: TileCells, number: int, image_size: tuple[int, int]
) -> Iterator[SeenCell]:
    """The candidates of a tile that reach what another tile sees, or its window's edge.

    Args:
        part: of the tile.
        number: its position in the list of all.
        image_size: (height, width) in pixels.
    """
    tile, instances = part.tile, part.found.instances
    alone, inner = _seen_alone(tile, image_size), _inner_edges(tile, image_size)
    for index, soft in enumerate(instances.masks):
        place = place_of(instances, index)
        if lies_inside(place, alone):
            continue
        mask = soft >= MASK_THRESHOLD
        if not mask.any():
            continue
        mask, place = tighten(mask, place)
        centre_y, centre_x = (place.y0 + place.y1) / 2, (place.x0 + place.x1) / 2
        own = tile.own.y0 <= centre_y < tile.own.y1 and tile.own.x0 <= centre_x < tile.own.x1
        mask, place, cut = _continued(mask, place, tile.window, inner)
        score = instances.scores[index]
        counts = bool(score >= np.float32(part.found.threshold))
        yield SeenCell(number, index, place, mask, cut, own, float(score), counts)


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


def _inner_edges(tile: Tile, image_size: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Whether the window's y0, y1, x0 and x1 lie inside the image."""
    y0, y1, x0, x1 = tile.window
    return y0 > 0, y1 < image_size[0], x0 > 0, x1 < image_size[1]


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
