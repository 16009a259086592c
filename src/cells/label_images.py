"""Label images of any program: 0 is background, one number for each cell."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from scipy.ndimage import find_objects

from cells.masks import Crop
from cells.readers.tiff_pages import check_page_list
from utils.script import InputError

WHITE = (2**8 - 1, 2**16 - 1)  # the only value of a mask besides 0


def read_labels(path: Path, image_size: tuple[int, int]) -> np.ndarray:
    """Label image with labels 1, 2 ... N without gaps, int32 [height, width].

    Raises:
        InputError: unreadable, of another size than the image, without whole numbers, or only
            black and white.
    """
    try:
        if path.suffix == ".npy":
            labels = np.load(path, allow_pickle=False)
        elif path.suffix == ".png":
            labels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        else:
            check_page_list(path)
            labels = tifffile.imread(path)
    except InputError:
        raise
    except Exception as error:  # each library raises kinds of its own for broken files
        raise InputError(f"{path}: unreadable label image ({error}); write it again") from error
    if labels is None or labels.shape != image_size:
        shape = None if labels is None else labels.shape
        raise InputError(f"{path}: label image of shape {shape}, but the image is {image_size}")
    if labels.dtype.kind not in "buif":
        raise InputError(f"{path}: label image of {labels.dtype} values; give whole numbers")
    if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
        raise InputError(f"{path}: label image with fractions; give 0 or a whole number per pixel")
    _refuse_mask_of_all(path, labels)
    values, labels = np.unique(np.where(labels > 0, labels, 0), return_inverse=True)
    return labels.reshape(image_size).astype(np.int32) + (values[0] > 0)


def _refuse_mask_of_all(path: Path, labels: np.ndarray) -> None:
    """Raise an `InputError` for black and white in several pieces: it does not tell cells apart."""
    most = labels.max(initial=0)
    if labels.dtype != bool and (most not in WHITE or ((labels != 0) & (labels != most)).any()):
        return
    count = cv2.connectedComponents((labels > 0).astype(np.uint8))[0] - 1
    if count > 1:
        raise InputError(
            f"{path}: black and white, with {count} pieces, which would be one cell; give each "
            "cell a number of its own (a label image)"
        )


def label_crops(labels: np.ndarray) -> list[Crop]:
    """The mask of each label of `read_labels`, in its tight box."""
    return [
        Crop(labels[rows, columns] == i, (columns.start, rows.start))
        for i, (rows, columns) in enumerate(find_objects(labels), start=1)
    ]
