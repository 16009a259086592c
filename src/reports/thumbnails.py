"""Small JPEGs of pictures, within a budget of bytes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

LONG_SIDE = 320  # pixels of the largest thumbnails
QUALITIES = (80, 65, 50, 35)
SHRINKING = 0.75  # of the sides, where the lowest quality is still too large
SMALLEST = 24  # pixels of the long side, which is taken whatever its size


def make_thumbnail(path: Path, budget: int) -> bytes | None:
    """A JPEG of at most `budget` bytes, as large and as good as they allow.

    Returns:
        None where the picture is missing or cannot be read.
    """
    try:
        content = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    except (OSError, cv2.error):
        return None
    if picture is None:
        return None
    side = float(min(LONG_SIDE, max(picture.shape[:2])))
    while True:
        scale = side / max(picture.shape[:2])
        size = [max(1, round(scale * length)) for length in picture.shape[1::-1]]
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            jpeg = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
            if len(jpeg) <= budget or (side <= SMALLEST and quality == QUALITIES[-1]):
                return jpeg
        side = max(SHRINKING * side, SMALLEST)
