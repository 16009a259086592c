"""Predictions in files that other programs open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import roifile
import tifffile
from skimage.measure import regionprops_table

from cells.instances import Instances
from cells.masks import binary_crops, label_image, to_rles
from utils.script import atomic_path

MEASUREMENTS = (
    "label",
    "area",
    "centroid",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "orientation",
    "perimeter",
    "mean_intensity",
)


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a uint8 BGR picture; the format follows the suffix."""
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), picture)


def write_labels(path: Path, image: np.ndarray, instances: Instances, names: Sequence[str]) -> None:
    """Label image as 16- or 32-bit TIFF: 0 background, i the i-th instance, best score on top."""
    labels = label_image(instances)
    dtype = np.uint16 if len(instances) < 2**16 else np.uint32
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(dtype), compression="zlib")


def write_rois(path: Path, image: np.ndarray, instances: Instances, names: Sequence[str]) -> None:
    """Outlines as a zip of ImageJ ROIs, named by number, class and score."""
    rois = []
    crops = binary_crops(instances)
    for i, (crop, offset) in enumerate(zip(crops, instances.offsets, strict=True)):
        outlines, _ = cv2.findContours(
            crop.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        outline = max(outlines, key=len)[:, 0] + offset  # the largest part of a mask in pieces
        name = f"{i + 1:04d}-{names[instances.labels[i]]}-{instances.scores[i]:.2f}"
        rois.append(roifile.ImagejRoi.frompoints(outline, name=name))
    with atomic_path(path) as temporary:
        roifile.roiwrite(temporary, rois, mode="w")


def write_coco(path: Path, image: np.ndarray, instances: Instances, names: Sequence[str]) -> None:
    """A COCO file of this image with RLE masks and scores; `train_cis.py` reads it, too."""
    height, width = instances.image_size
    annotations = [
        {
            "id": i + 1,
            "image_id": path.stem,
            "category_id": int(label) + 1,
            "segmentation": rle,
            "bbox": [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
            "area": int(crop.sum()),
            "iscrowd": 0,
            "score": float(score),
        }
        for i, (label, rle, box, crop, score) in enumerate(
            zip(
                instances.labels,
                to_rles(instances),
                instances.boxes,
                binary_crops(instances),
                instances.scores,
                strict=True,
            )
        )
    ]
    coco = {
        "images": [{"id": path.stem, "file_name": path.stem, "width": width, "height": height}],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
        "annotations": annotations,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(coco), encoding="utf-8")


def write_table(path: Path, image: np.ndarray, instances: Instances, names: Sequence[str]) -> None:
    """One CSV row per instance of the label image: class, score, measurements in pixels."""
    grey = image.mean(axis=2)
    table = pd.DataFrame(
        regionprops_table(label_image(instances), intensity_image=grey, properties=MEASUREMENTS)
    )
    table = table.rename(columns={"centroid-0": "centroid_y", "centroid-1": "centroid_x"})
    shown = table["label"].to_numpy(int) - 1
    table.insert(1, "class", [names[label] for label in instances.labels[shown]])
    table.insert(2, "score", instances.scores[shown])
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


# --save NAME: (suffix of the file, writer)
WRITERS = {
    "labels": ("_labels.tif", write_labels),
    "rois": ("_rois.zip", write_rois),
    "coco": ("_coco.json", write_coco),
    "csv": (".csv", write_table),
}
