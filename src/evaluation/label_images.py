"""Predictions as a folder of label images, the common denominator of other programs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from scipy.ndimage import find_objects

from cells.annotations import AnnotatedImage, AnnotationSet
from cells.instances import Instances
from evaluation.prediction_io import certain_instances
from utils.script import InputError

# names beside the image's own: as infer_cis.py --save labels writes them, and as Cellpose does
LABEL_ENDINGS = ("", "_labels", "_cp_masks")
LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")


class LabelImages:
    """Label images (0 background, one number for each instance) in a folder, read when asked for.

    They have neither classes nor scores: all get label 0 and score 1.

    Args:
        folder: holds `<name>.tif`, `.png` or `.npy` for every image, where `<name>` is the image's
            file name or id, also with `_labels` or `_cp_masks` after it.
        truth: the annotations of the images.

    Raises:
        InputError: images without a label image (all in `details`).
    """

    def __init__(self, folder: str | Path, truth: AnnotationSet) -> None:
        self._records = {record.id: record for record in truth.images}
        self._paths = {
            record.id: _label_path(Path(folder), record) for record in self._records.values()
        }
        absent = [f"no label image of {i}" for i, path in self._paths.items() if path is None]
        if absent:
            names = f"<name>[{'|'.join(LABEL_ENDINGS[1:])}]{'|'.join(LABEL_SUFFIXES)}"
            raise InputError(
                f"--predictions {folder}: {len(absent)} label image(s) missing, listed above; "
                f"expected {names} for every image",
                absent,
            )

    def __getitem__(self, image_id: str | int) -> Instances:
        record = self._records[image_id]
        labels = _read_labels(self._paths[image_id], record.image_size)
        windows = find_objects(labels)
        offsets = [(columns.start, rows.start) for rows, columns in windows]
        ends = [(columns.stop, rows.stop) for rows, columns in windows]
        return certain_instances(
            record,
            labels=[0] * len(windows),
            scores=[1.0] * len(windows),
            boxes=[(*offset, *end) for offset, end in zip(offsets, ends, strict=True)],
            crops=[labels[window] == i + 1 for i, window in enumerate(windows)],
            offsets=offsets,
        )


def _label_path(folder: Path, record: AnnotatedImage) -> Path | None:
    names = dict.fromkeys([record.path.stem, str(record.id)])
    candidates = (
        folder / f"{name}{ending}{suffix}"
        for name in names
        for ending in LABEL_ENDINGS
        for suffix in LABEL_SUFFIXES
    )
    return next((path for path in candidates if path.is_file()), None)


def _read_labels(path: Path, image_size: tuple[int, int]) -> np.ndarray:
    """Label image with labels 1, 2 ... N without gaps, int32 [height, width].

    Raises:
        InputError: unreadable, of another size than the image, or no whole numbers.
    """
    try:
        if path.suffix == ".npy":
            labels = np.load(path, allow_pickle=False)
        elif path.suffix == ".png":
            labels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        else:
            labels = tifffile.imread(path)
    except Exception as error:  # each library raises kinds of its own for broken files
        raise InputError(f"{path}: unreadable label image ({error}); write it anew") from error
    if labels is None or labels.shape != image_size:
        shape = None if labels is None else labels.shape
        raise InputError(f"{path}: label image of shape {shape}, but the image is {image_size}")
    if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
        raise InputError(f"{path}: label image with fractions; give 0 or a whole number per pixel")
    values, labels = np.unique(np.where(labels > 0, labels, 0), return_inverse=True)
    return labels.reshape(image_size).astype(np.int32) + (values[0] > 0)
