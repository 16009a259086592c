"""Reading run-length encodings (COCO RLE) without decoding full frames one by one."""

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
