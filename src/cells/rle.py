"""Run-length encodings (COCO RLE): checking them, and reading them without full frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask


def rle_crop(rle: dict) -> tuple[np.ndarray, tuple[int, int]]:
    """The mask within its tight box, bool [h, w], and the box's top left pixel (x, y).

    An empty mask gives an array of shape [0, 0] at (0, 0).
    """
    x, y, w, h = coco_mask.toBbox(rle).astype(int)
    return coco_mask.decode(rle)[y : y + h, x : x + w].astype(bool), (int(x), int(y))


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
    if size is None or list(size) != [height, width]:
        raise ValueError(f"RLE size {size} differs from the image's [{height}, {width}]")
    if isinstance(counts, list):
        if (
            not all(isinstance(run, int) and run >= 0 for run in counts)
            or sum(counts) != height * width
        ):
            raise ValueError(f"RLE counts do not add up to {height} x {width} pixels")
        return coco_mask.frPyObjects(segmentation, height, width)
    if isinstance(counts, str | bytes):
        rle = {
            "size": [height, width],
            "counts": counts.encode() if isinstance(counts, str) else counts,
        }
        if _total_run_length(rle["counts"]) != height * width:
            raise ValueError(f"RLE counts do not add up to {height} x {width} pixels")
        return rle
    raise ValueError("RLE counts are neither a list nor a string")


def _total_run_length(counts: bytes) -> int:
    """Sum of all runs of a compressed RLE, or -1 when the string is malformed.

    pycocotools decodes without looking at the end of the frame: a wrong string would make it write
    outside its memory. The format is COCO's `rleFrString`: 5 bits a character with a continuation
    bit, sign extended; from the fourth run on, differences to the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for byte in counts:
        digit = byte - 48
        if not 0 <= digit < 64:
            return -1
        value |= (digit & 0x1F) << shift
        shift += 5
        if not digit & 0x20:
            if digit & 0x10:
                value |= -1 << shift
            if len(runs) > 2:
                value += runs[-2]
            if value < 0:
                return -1
            runs.append(value)
            value = shift = 0
    return sum(runs) if shift == 0 else -1
