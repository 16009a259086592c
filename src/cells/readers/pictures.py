"""PNG, JPEG and BMP."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from cells.readers.volume import Volume, array_reader
from utils.script import InputError

PNG_START = b"\x89PNG\r\n\x1a\n"
REMEDY = "convert it to PNG, JPEG or TIFF"


def open_picture(path: Path) -> Volume:
    """Decode a picture; an alpha channel is dropped.

    Raises:
        InputError: unreadable, or animated.
    """
    data = np.fromfile(path, np.uint8)  # imread cannot open every Unicode path
    if path.suffix.lower() == ".png":
        _check_png(path, data.tobytes())
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error as error:  # for example more pixels than OpenCV takes
        reason = error.err or "OpenCV refuses it"
        raise InputError(f"{path}: unreadable image file ({reason}); {REMEDY}") from error
    if image is None or not image.size:
        raise InputError(f"{path}: unreadable or empty image file; {REMEDY}")
    if (count := cv2.imcount(str(path))) > 1:
        raise InputError(f"{path}: animated, {count} pictures; save them as a TIFF stack")
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


def _check_png(path: Path, data: bytes) -> None:
    """Raise an `InputError` for a PNG with a wrong checksum, before libpng prints about it."""
    if not data.startswith(PNG_START):
        return
    at = len(PNG_START)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8].ljust(8, b"\0"))
        end = at + 12 + length
        chunk, checksum = data[at + 4 : end - 4], data[end - 4 : end]
        if end > len(data) or zlib.crc32(chunk) != int.from_bytes(checksum, "big"):
            raise InputError(f"{path}: damaged or cut off at byte {at}; copy or save it again")
        if kind == b"IEND":
            return
        at = end
    raise InputError(f"{path}: cut off at byte {at}; copy or save it again")
