"""PNG, JPEG and BMP."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cells.readers.volume import Volume, array_reader
from utils.script import InputError

REMEDY = "convert it to PNG, JPEG or TIFF"


def open_picture(path: Path) -> Volume:
    """Decode a picture; an alpha channel is dropped.

    Raises:
        InputError: unreadable.
    """
    data = np.fromfile(path, np.uint8)  # imread cannot open every Unicode path
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error as error:  # for example more pixels than OpenCV takes
        reason = error.err or "OpenCV refuses it"
        raise InputError(f"{path}: unreadable image file ({reason}); {REMEDY}") from error
    if image is None or not image.size:
        raise InputError(f"{path}: unreadable or empty image file; {REMEDY}")
    colour = image.ndim == 3 and image.shape[2] >= 3
    if colour:
        image = image[:, :, 2::-1]
    elif image.ndim == 3:  # grey with alpha
        image = image[:, :, 0]
    return Volume(
        path=path,
        shape=image.shape[:2],
        dtype=image.dtype,
        sizes={},
        colour=colour,
        read=array_reader(image, "YXS" if colour else "YX"),
    )
