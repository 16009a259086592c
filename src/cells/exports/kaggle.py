"""Submissions of the Sartorius challenge: one row of run lengths a cell, without overlaps."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cells.exports.segmented import SegmentedImage
from utils.files import atomic_path

HEADER = ("id", "predicted")


def write_kaggle(path: Path, segmented: SegmentedImage) -> None:
    """Rows `id,predicted` of one image, best score first; one row with nothing where no cell is."""
    instances = segmented.instances
    width = instances.image_size[1]
    rows = [
        run_lengths(crop, offset, width)
        for crop, offset in zip(segmented.visible, instances.offsets, strict=True)
        if crop.any()
    ]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows((segmented.name, row) for row in rows or [""])


def run_lengths(crop: np.ndarray, offset: Sequence[int], width: int) -> str:
    """The challenge's encoding: pairs of start and length, row by row, the first pixel is 1.

    Args:
        crop: bool [h, w].
        offset: x, y of its top left pixel in the image.
        width: of the image.
    """
    rows, columns = np.nonzero(crop)
    pixels = (rows + offset[1]) * width + columns + offset[0] + 1
    starts = np.flatnonzero(np.diff(pixels, prepend=-1) != 1)
    lengths = np.diff(starts, append=len(pixels))
    return " ".join(f"{start} {n}" for start, n in zip(pixels[starts], lengths, strict=True))


def join_submissions(path: Path, parts: Sequence[Path]) -> None:
    """One submission of many images from the files of each."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\r\n")
        for part in parts:
            with open(part, encoding="utf-8", newline="") as rows:
                next(rows)
                file.writelines(rows)
