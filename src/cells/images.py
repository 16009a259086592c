"""Reading images of any kind into what the networks take: uint8 BGR."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from utils.script import InputError

# Deeper images are stretched between these percentiles: a few hot pixels do not darken the rest.
DEPTH_PERCENTILES = (0.1, 99.9)


def read_image(path: str | Path) -> np.ndarray:
    """Read PNG, JPEG, TIFF or BMP; grey, RGB or RGBA; 8 or 16 bit or float.

    Grey becomes three equal channels, an alpha channel is dropped. 8-bit values stay as they are;
    deeper images are rescaled linearly from their own 0.1 to 99.9 percentiles to 0..255.

    Returns:
        uint8 [height, width, 3], channels blue, green, red.

    Raises:
        InputError: the file is missing, empty, unreadable, or not a single two-dimensional image.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image file; check the path")
    image = _decode(path)
    if image.dtype != np.uint8:
        image = _to_uint8(image)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] in (1, 2):  # grey, grey with alpha
        image = np.repeat(image[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3])


def _decode(path: Path) -> np.ndarray:
    """Pixels as stored, [height, width] or [height, width, channels] with colours in BGR order."""
    remedy = "convert it to PNG, JPEG, TIFF or BMP with one grey or colour image in the file"
    if path.suffix.lower() in (".tif", ".tiff"):
        try:
            image = np.squeeze(tifffile.imread(path))
        except Exception as error:  # tifffile raises many kinds for broken files
            raise InputError(f"{path}: unreadable TIFF ({error}); {remedy}") from error
        if image.ndim == 3 and image.shape[0] in (3, 4) and image.shape[2] not in (3, 4):
            image = np.moveaxis(image, 0, 2)  # planar colours
        if image.ndim == 3 and image.shape[2] in (3, 4):
            image = image[:, :, [2, 1, 0]]
    else:
        data = np.fromfile(path, np.uint8)  # imread cannot open every Unicode path
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is None:
            raise InputError(f"{path}: unreadable or empty image file; {remedy}")
    if image.size == 0 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] > 4):
        raise InputError(f"{path}: shape {image.shape} is not one two-dimensional image; {remedy}")
    return image


def _to_uint8(image: np.ndarray) -> np.ndarray:
    """Linear stretch of any real dtype to 0..255; a constant image becomes 0."""
    values = np.nan_to_num(image.astype(np.float32))
    low, high = np.percentile(values, DEPTH_PERCENTILES)
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.clip((values - low) * scale, 0, 255).round().astype(np.uint8)


def resize(image: np.ndarray, size: tuple[int, int], library: str) -> np.ndarray:
    """Resize bilinearly.

    Args:
        image: uint8 [height, width, 3].
        size: new (width, height).
        library: "opencv", or "pillow", which averages where it shrinks and rounds otherwise where
            it enlarges (a fifth of the values differ by one); models see what they were trained on.

    Returns:
        uint8 [new height, new width, 3].
    """
    if library == "pillow":
        return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
