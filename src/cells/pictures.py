"""What an image of any size is to those who read it window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Picture(Protocol):
    """An image of which windows are read: a `CellImage`, or an `ArrayPicture`."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    def window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """uint8 [y1 - y0, x1 - x0, 3], BGR."""


@dataclass(frozen=True)
class ArrayPicture:
    """An image in memory.

    Attributes:
        pixels: uint8 [height, width, 3], BGR.
    """

    pixels: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """uint8 [y1 - y0, x1 - x0, 3], BGR."""
        return self.pixels[y0:y1, x0:x1]
