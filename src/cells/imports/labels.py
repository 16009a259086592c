"""Label images; they know no classes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cells.imports.contents import Contents, ImportedCell
from cells.label_images import label_crops, read_labels


def read_label_image(path: Path, image_size: tuple[int, int], classes: Collection[str]) -> Contents:
    """One cell for each number above 0; all its pixels, also in several pieces.

    Raises:
        InputError: see `read_labels`.
    """
    return Contents([ImportedCell(crop) for crop in label_crops(read_labels(path, image_size))])
