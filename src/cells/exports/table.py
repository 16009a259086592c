"""Measurements of every cell of the label image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from skimage.measure import regionprops

from cells.exports.segmented import SegmentedImage
from cells.masks import visible_crops
from utils.files import atomic_path

SHAPE = (
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "orientation",
    "perimeter",
)
COLUMNS = (
    "label",
    "class",
    "score",
    "area",
    "centroid_y",
    "centroid_x",
    *SHAPE,
    "mean_intensity",
)


def write_table(path: Path, segmented: SegmentedImage) -> None:
    """One CSV row per instance of the label image: class, score, measurements in pixels."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(measure(segmented))


def measure(segmented: SegmentedImage) -> Iterator[dict[str, object]]:
    """Rows of `COLUMNS`, one for each instance that the label image shows, in pixels.

    Each is measured in its own window, so that memory does not depend on the image's size.
    """
    instances = segmented.instances
    for i, crop in enumerate(visible_crops(instances)):
        if not crop.any():
            continue
        x, y = instances.offsets[i]
        window = segmented.image[y : y + crop.shape[0], x : x + crop.shape[1]]
        (region,) = regionprops(crop.astype(np.uint8))
        yield {
            "label": i + 1,
            "class": segmented.class_names[instances.labels[i]],
            "score": round(float(instances.scores[i]), 6),
            "area": int(region.area),
            "centroid_y": float(region.centroid[0] + y),
            "centroid_x": float(region.centroid[1] + x),
            **{name: float(region[name]) for name in SHAPE},
            "mean_intensity": float(window[crop].mean()),
        }
