"""Label images: 0 is background, i the i-th instance."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile

from cells.exports.segmented import SegmentedImage
from cells.masks import label_image
from utils.files import atomic_path
from utils.script import InputError

MOST = 2**16 - 1  # instances that 16 bits can number


def write_labels(path: Path, segmented: SegmentedImage) -> None:
    """Label image as 16- or 32-bit TIFF, best score on top."""
    labels = label_image(segmented.instances)
    dtype = np.uint16 if len(segmented.instances) <= MOST else np.uint32
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(dtype), compression="zlib")


def write_masks(path: Path, segmented: SegmentedImage) -> None:
    """The same as 16-bit PNG.

    Raises:
        InputError: there are more instances than 16 bits can number.
    """
    count = len(segmented.instances)
    if count > MOST:
        raise InputError(
            f"{path}: {count} cells do not fit into a 16-bit PNG; use --save labels instead"
        )
    labels = label_image(segmented.instances).astype(np.uint16)
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), labels)
