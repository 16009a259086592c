"""A function for each name of `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cells.exports.coco import write_coco
from cells.exports.geojson import write_geojson
from cells.exports.kaggle import write_kaggle
from cells.exports.labels import write_labels, write_masks
from cells.exports.rois import write_rois
from cells.exports.segmented import SegmentedImage
from cells.exports.table import write_table

WRITERS: dict[str, Callable[[Path, SegmentedImage], None]] = {
    "labels": write_labels,
    "masks": write_masks,
    "rois": write_rois,
    "geojson": write_geojson,
    "coco": write_coco,
    "csv": write_table,
    "kaggle": write_kaggle,
}
