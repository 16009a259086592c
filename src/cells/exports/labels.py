"""Label images: 0 is background, i the i-th instance."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from cells.exports.picture import write_picture
from cells.exports.segmented import SegmentedImage
from cells.instances import Instances
from cells.masks import binary_crops, label_image
from utils.files import atomic_path
from utils.script import InputError

MOST = np.iinfo(np.uint16).max  # instances that 16 bits can number
# Larger images are written as tiles, one in memory at a time; smaller ones are one piece, which
# programs that know no tiles open, too.
LARGE = 2**26  # pixels
TILE = 512


def write_labels(path: Path, segmented: SegmentedImage) -> None:
    """Label image as 16- or 32-bit TIFF, best score on top."""
    instances = segmented.instances
    dtype = np.dtype(np.uint16 if len(instances) <= MOST else np.uint32)
    height, width = instances.image_size
    with atomic_path(path) as temporary:
        if height * width <= LARGE:
            tifffile.imwrite(temporary, label_image(instances).astype(dtype), compression="zlib")
        else:
            tifffile.imwrite(
                temporary,
                label_tiles(instances, dtype),
                shape=(height, width),
                dtype=dtype,
                tile=(TILE, TILE),
                compression="zlib",
            )


def write_masks(path: Path, segmented: SegmentedImage) -> None:
    """The same as 16-bit PNG.

    Raises:
        InputError: there are more instances than 16 bits can number.
    """
    instances = segmented.instances
    if len(instances) > MOST:
        raise InputError(
            f"{path}: {len(instances)} cells do not fit into a 16-bit PNG; "
            "use --save labels instead"
        )
    height, width = instances.image_size
    labels = np.empty((height, width), np.uint16)
    places = itertools.product(range(0, height, TILE), range(0, width, TILE))
    for (y, x), tile in zip(places, label_tiles(instances, labels.dtype), strict=True):
        window = labels[y : y + TILE, x : x + TILE]
        window[:] = tile[: window.shape[0], : window.shape[1]]
    write_picture(path, labels)


def label_tiles(instances: Instances, dtype: np.dtype) -> Iterator[np.ndarray]:
    """`label_image` in squares of `TILE` pixels, row by row; those at the borders reach beyond it.

    Yields:
        `dtype` [TILE, TILE].
    """
    height, width = instances.image_size
    crops = binary_crops(instances)
    touched = defaultdict(list)  # by tile, best score last
    for i in np.argsort(-instances.scores, kind="stable")[::-1]:
        (x, y), (h, w) = instances.offsets[i].tolist(), crops[i].shape
        rows, columns = (range(a // TILE, -(-(a + side) // TILE)) for a, side in ((y, h), (x, w)))
        for place in itertools.product(rows, columns):
            touched[place].append(i)
    for row, column in itertools.product(range(-(-height // TILE)), range(-(-width // TILE))):
        tile = np.zeros((TILE, TILE), dtype)
        for i in touched.pop((row, column), ()):
            (x, y), crop = instances.offsets[i] - (column * TILE, row * TILE), crops[i]
            inside = crop[max(-y, 0) : TILE - y, max(-x, 0) : TILE - x]
            window = tile[max(y, 0) :, max(x, 0) :][: inside.shape[0], : inside.shape[1]]
            window[inside] = i + 1
        yield tile
