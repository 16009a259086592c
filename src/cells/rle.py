"""Run-length encodings of masks (RLE): written, checked, and read without full frames.

RLE is the COCO format of pycocotools: {"size": [height, width], "counts": bytes or str}.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from cells.instances import Instances
from cells.masks import MASK_THRESHOLD, Crop, binary_crops

MOST_CHARACTERS = 7  # of a number: 34 bits and the sign, more than the pixels of any image


def rle_crop(rle: dict) -> Crop:
    """The mask within its tight box; without foreground, an array of shape [0, 0] at (0, 0).

    Costs as much as the cell is large, not the frame.
    """
    pixels, _ = foreground_pixels([rle])
    if not len(pixels):
        return Crop(np.zeros((0, 0), bool), (0, 0))
    columns, rows = np.divmod(pixels, rle["size"][0])
    left, top = columns[0], rows.min()
    mask = np.zeros((rows.max() + 1 - top, columns[-1] + 1 - left), bool)
    mask[rows - top, columns - left] = True
    return Crop(mask, (int(left), int(top)))


def foreground_pixels(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Foreground of many masks of the same size as pixel lists.

    Decoding a frame costs as much as the frame is large, however small the cell; this costs as much
    as the cells are large, in array operations over all masks together.

    Args:
        rles: M valid compressed RLEs, `counts` as bytes or str.

    Returns:
        Positions in the frame read column by column (y + x * height), and the index of the mask
        that each belongs to; both int64 [P], where P is the sum of the masks' areas.
    """
    runs, owner, order = _runs(rles)
    stops = np.cumsum(runs)
    heights, widths = np.array([rle["size"] for rle in rles], np.int64).reshape(-1, 2).T
    # the runs of a mask add up to its frame, so that the masks before it take whole frames
    before = np.cumsum(heights * widths) - heights * widths
    foreground = order % 2 == 1
    lengths = runs[foreground]
    starts = (stops - runs - before[owner])[foreground]
    first = np.cumsum(lengths) - lengths  # where each run begins in the list of pixels
    pixels = np.arange(lengths.sum()) + np.repeat(starts - first, lengths)
    return pixels, np.repeat(owner[foreground], lengths)


def _runs(rles: Sequence[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths of all runs, the mask of each, and its number within the mask; int64 [R] each.

    COCO's `rleFrString`: 5 bits a character, lowest first, the sixth bit says that more follow, the
    fifth bit of the last is the sign; from the fourth run on, a number is the difference to the run
    before the last.
    """
    counts = [c.encode() if isinstance(c, str) else c for c in (rle["counts"] for rle in rles)]
    characters = np.frombuffer(b"".join(counts), np.uint8).astype(np.int64) - 48
    if not len(characters):
        return (np.zeros(0, np.int64),) * 3
    last = np.flatnonzero(characters & 0x20 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    size = last - first + 1
    shift = 5 * (np.arange(len(characters)) - np.repeat(first, size))
    values = np.add.reduceat((characters & 0x1F) << shift, first)
    values -= (characters[last] & 0x10 > 0).astype(np.int64) << (5 * size)
    owner = np.repeat(np.arange(len(rles)), [len(c) for c in counts])[first]
    order = np.arange(len(values)) - np.searchsorted(owner, owner)
    # Three chains of sums in each mask: run 0 alone, runs 1, 3, 5 ... and runs 2, 4, 6 ...
    chain = 3 * owner + np.where(order == 0, 0, 2 - order % 2)
    together = np.argsort(chain, kind="stable")
    sums = np.cumsum(values[together])
    begins = np.searchsorted(chain[together], chain[together])
    runs = np.empty_like(values)
    runs[together] = sums - (sums - values[together])[begins]
    return runs, owner, order


def to_rle(segmentation: object, height: int, width: int) -> dict:
    """Turn a COCO segmentation (polygons, compressed or uncompressed RLE) into a compressed RLE.

    Raises:
        ValueError: it is malformed, of another size, out of range or covers no pixel.
    """
    if isinstance(segmentation, dict):
        rle = _checked_rle(segmentation, height, width)
    elif isinstance(segmentation, list) and segmentation:
        rle = _polygons_to_rle(segmentation, height, width)
    else:
        raise ValueError("segmentation is neither polygons nor RLE")
    if coco_mask.area(rle) == 0:
        raise ValueError("mask covers no pixel")
    return rle


def _polygons_to_rle(polygons: list, height: int, width: int) -> dict:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("degenerate polygon (at least three x y points needed)")
        if not all(type(value) in (int, float) and abs(value) < 1e9 for value in polygon):
            raise ValueError("polygon with something else than numbers")
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        if (
            not np.isfinite(points).all()
            or points.min() < -1
            or (points > (width + 1, height + 1)).any()
        ):
            raise ValueError(f"polygon reaches outside the image of {width} x {height} pixels")
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def _checked_rle(segmentation: dict, height: int, width: int) -> dict:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise ValueError(f"RLE size {size!r:.40} differs from the image's [{height}, {width}]")
    if isinstance(counts, list):
        if (
            not all(isinstance(run, int) and run >= 0 for run in counts)
            or sum(counts) != height * width
        ):
            raise ValueError(f"RLE counts do not add up to {height} x {width} pixels")
        return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    if isinstance(counts, str | bytes):
        compressed = counts.encode() if isinstance(counts, str) else counts
        if not _add_up(compressed, height * width):
            raise ValueError(f"RLE counts do not add up to {height} x {width} pixels")
        return {"size": [height, width], "counts": compressed}
    raise ValueError("RLE counts are neither a list nor a string")


def _add_up(counts: bytes, pixels: int) -> bool:
    """Whether a compressed RLE is well-formed and its runs add up to a number of pixels.

    pycocotools decodes without looking at the end of the frame: a wrong string would make it write
    outside its memory. `_runs`, too, expects what is checked here first.
    """
    characters = np.frombuffer(counts, np.uint8)
    # each run is one number and, except for the first, at least one pixel
    if not len(characters) or len(characters) > MOST_CHARACTERS * (pixels + 1):
        return False
    last = np.flatnonzero(characters - 48 & 0x20 == 0)
    if characters.min() < 48 or characters.max() >= 48 + 64 or not len(last):
        return False
    lengths = np.diff(last, prepend=-1)
    if last[-1] != len(characters) - 1 or lengths.max() > MOST_CHARACTERS:
        return False
    runs, _, _ = _runs([{"counts": counts}])
    return bool(runs.min() >= 0) and int(runs.sum()) == pixels


def encode(mask: np.ndarray) -> dict:
    """RLE of one binary mask [height, width]; `counts` is str, so that it can go into JSON."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def to_rles(instances: Instances, threshold: float = MASK_THRESHOLD) -> list[dict]:
    """RLE of each instance's foreground in the frame of the image, `counts` as str."""
    crops = binary_crops(instances, threshold)
    return [
        encode_crop(crop, offset, instances.image_size)
        for crop, offset in zip(crops, instances.offsets, strict=True)
    ]


def encode_crop(crop: np.ndarray, offset: Sequence[int], image_size: tuple[int, int]) -> dict:
    """`encode` of a pasted crop, at the cost of the crop instead of the image."""
    height, width = image_size
    columns, rows = np.nonzero(crop.T)
    pixels = (columns + offset[0]) * height + rows + offset[1]  # column by column, ascending
    last = np.flatnonzero(np.diff(pixels, append=-1) != 1)  # of each run
    first = np.concatenate([[0], last + 1])[:-1]
    edges = np.stack([pixels[first], pixels[last] + 1], axis=1).ravel()
    runs = np.diff(edges, prepend=0, append=height * width).tolist()
    if runs[-1] == 0:  # foreground to the last pixel
        runs.pop()
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def rle_areas(rles: Sequence[dict]) -> np.ndarray:
    """Foreground pixels of each mask, int64 [N]."""
    # One by one: given a list, pycocotools 2.0.11 fails on more than 255 masks with numpy 2.
    return np.array([coco_mask.area(rle) for rle in rles], np.int64)


def rle_iou(first: Sequence[dict], second: Sequence[dict]) -> np.ndarray:
    """IoU over pixels of every pair, float64 [N, M]; an empty mask has IoU 0 with everything."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    iou = coco_mask.iou(list(first), list(second), [0] * len(second))
    return np.nan_to_num(iou)
