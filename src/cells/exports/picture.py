"""Pictures for people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.files import atomic_path


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a uint8 BGR picture; the format follows the suffix."""
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), picture)
