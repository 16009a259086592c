"""What `--save` can write of each image; no heavy imports, so that `--help` answers at once."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """One kind of file.

    Attributes:
        suffix: what follows the name of the result.
        description: a few words for `--help`.
    """

    suffix: str
    description: str


FORMATS = {
    "labels": Format("_labels.tif", "label image (TIFF)"),
    "masks": Format("_masks.png", "label image (16-bit PNG)"),
    "rois": Format("_rois.zip", "ImageJ ROIs"),
    "geojson": Format(".geojson", "QuPath detections"),
    "coco": Format("_coco.json", "COCO annotations"),
    "csv": Format(".csv", "measurements"),
    "kaggle": Format("_kaggle.csv", "submission with RLE"),
}
