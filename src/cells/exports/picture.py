"""Pictures, as files of the kind that their suffix names."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.files import atomic_path


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture: uint8 BGR [height, width, 3], or uint8 or uint16 grey [height, width].

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    # not `imwrite`, which does not tell of a full disk
    content = cv2.imencode(Path(path).suffix, picture)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())
