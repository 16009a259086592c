"""What a reader gives: the cells of one image, and what was wrong with others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cells.masks import Crop


class ImportedCell(NamedTuple):
    """One cell.

    Attributes:
        crop: its mask, with at least one pixel.
        class_name: None where the file does not say it.
        iscrowd: a region that training spares, not a cell.
    """

    crop: Crop
    class_name: str | None = None
    iscrowd: bool = False


@dataclass
class Contents:
    """Cells of one image in the order of their file, and a line for each that cannot be used."""

    cells: list[ImportedCell] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
