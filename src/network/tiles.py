"""Where an image is cut into tiles; see `network.tiling` for how they are segmented."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cells.instances import Instances
from cells.pictures import Picture
from cells.readers.volume import Window
from utils.script import InputError


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        row, column: in the grid.
        own: the part itself; those of all tiles make up the image.
        window: what the networks see: `own` and half of the overlap on each side.
    """

    row: int
    column: int
    own: Window
    window: Window

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the window."""
        return self.window.y1 - self.window.y0, self.window.x1 - self.window.x0


def tile_grid(
    image_size: tuple[int, int], tile_size: tuple[int, int], overlap: int = 0
) -> list[Tile]:
    """Cut an image into parts of about the same size, row by row.

    An image whose sides are multiples of `tile_size` gets exactly such parts. One that is larger
    than a tile by no more than the overlap is not cut.

    Args:
        image_size: (height, width) in pixels.
        tile_size: largest (height, width) of a part, in pixels.
        overlap: pixels that the windows of neighbours share; at most half of `tile_size`.

    Raises:
        InputError: an impossible overlap.
    """
    if not 0 <= overlap <= min(tile_size) // 2:
        raise InputError(
            f"--overlap {overlap}: must be 0 to {min(tile_size) // 2}, half of a tile's short side"
        )
    (rows, columns), (height, width) = (
        [_cuts(side, part, overlap) for side, part in zip(image_size, tile_size, strict=True)],
        image_size,
    )
    margin = overlap // 2
    return [
        Tile(
            row,
            column,
            Window(y0, y1, x0, x1),
            Window(
                max(y0 - margin, 0),
                min(y1 + margin, height),
                max(x0 - margin, 0),
                min(x1 + margin, width),
            ),
        )
        for row, (y0, y1) in enumerate(rows)
        for column, (x0, x1) in enumerate(columns)
    ]


def _cuts(side: int, part: int, overlap: int) -> list[tuple[int, int]]:
    count = 1 if side <= part + overlap else math.ceil(side / part)
    edges = [round(i * side / count) for i in range(count + 1)]
    return list(zip(edges, edges[1:], strict=False))


def neighbours(tiles: Sequence[Tile]) -> Iterator[tuple[int, int]]:
    """Positions in the list of tiles that lie side by side or corner to corner, each pair once."""
    at = {(tile.row, tile.column): number for number, tile in enumerate(tiles)}
    for number, tile in enumerate(tiles):
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            other = at.get((tile.row + down, tile.column + right))
            if other is not None:
                yield number, other


def moved(instances: Instances, x: int, y: int, image_size: tuple[int, int]) -> Instances:
    """Instances of a part of an image in the frame of the whole, or the other way round.

    Args:
        x, y: are added to their places.
        image_size: (height, width) of the new frame.
    """
    return replace(
        instances,
        image_size=image_size,
        boxes=instances.boxes + np.array([x, y, x, y], instances.boxes.dtype),
        offsets=instances.offsets + np.array([x, y]),
    )


def concatenate(parts: Sequence[Instances], image_size: tuple[int, int]) -> Instances:
    """All instances of parts in the same frame, one part after the other."""
    parts = [Instances.empty(image_size), *parts]
    return Instances(
        image_size,
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
        [mask for part in parts for mask in part.masks],
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.agreement for part in parts]),
    )


def by_tile(
    function: Callable[[Instances, np.ndarray], Instances],
    instances: Instances,
    picture: Picture,
    tiles: Sequence[Tile],
) -> Instances:
    """Apply a function of instances and their image to each tile's own, with the tile's pixels.

    An instance belongs to the tile that the centre of its box lies in; the function sees the tile's
    part of the image, enlarged to hold all of its instances.

    Args:
        function: returns instances in the frame that it was given, for example a rescoring.
        instances: of the whole image.
        picture: the image.
        tiles: of a grid.

    Returns:
        All instances that the function returned, highest score first.
    """
    results = []
    for _, place, own in instances_by_tile(instances, tiles):
        changed = function(own, picture.window(*place))
        results.append(moved(changed, place.x0, place.y0, instances.image_size))
    return concatenate(results, instances.image_size).sorted_by_score()


def instances_by_tile(
    instances: Instances, tiles: Sequence[Tile]
) -> Iterator[tuple[np.ndarray, Window, Instances]]:
    """The instances of each tile that has any, see `by_tile`.

    Yields:
        Their positions in `instances`, int64; the tile's part of the image; and the instances in
        the frame of this part.
    """
    owners = _owners(instances, tiles)
    for number, tile in enumerate(tiles):
        positions = np.flatnonzero(owners == number)
        if not len(positions):
            continue
        own = instances[positions]
        place = _hull(own, tile.own)
        size = place.y1 - place.y0, place.x1 - place.x0
        yield positions, place, moved(own, -place.x0, -place.y0, size)


def _owners(instances: Instances, tiles: Sequence[Tile]) -> np.ndarray:
    """Position of the tile that each instance belongs to, int64 [N]."""
    xs = sorted({tile.own.x0 for tile in tiles})
    ys = sorted({tile.own.y0 for tile in tiles})
    centres = instances.boxes.reshape(-1, 2, 2).mean(axis=1)
    column = np.searchsorted(xs, centres[:, 0], side="right") - 1
    row = np.searchsorted(ys, centres[:, 1], side="right") - 1
    return row * len(xs) + column


def _hull(instances: Instances, place: Window) -> Window:
    """The smallest window with a place and all crops of the instances, of which there are some."""
    sizes = np.array([mask.shape for mask in instances.masks]).reshape(-1, 2)
    low, high = instances.offsets, instances.offsets + sizes[:, ::-1]
    return Window(
        int(min(place.y0, *low[:, 1])),
        int(max(place.y1, *high[:, 1])),
        int(min(place.x0, *low[:, 0])),
        int(max(place.x1, *high[:, 0])),
    )
