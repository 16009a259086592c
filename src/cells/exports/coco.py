"""COCO annotations, which `train_cis.py` reads, too."""

from __future__ import annotations

from pathlib import Path

from cells.exports.segmented import SegmentedImage
from cells.masks import binary_crops
from cells.rle import to_rles
from utils.files import write_json


def write_coco(path: Path, segmented: SegmentedImage) -> None:
    """A COCO file of this image with RLE masks and scores; cells may overlap in it.

    Its `file_name` is relative to the folder that was segmented, which is the `--image_dir` of a
    training on it.
    """
    instances, name = segmented.instances, segmented.name
    height, width = instances.image_size
    annotations = [
        {
            "id": i + 1,
            "image_id": name,
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
    image = {"id": name, "file_name": segmented.file_name, "width": width, "height": height}
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(segmented.class_names)]
    coco = {"images": [image], "categories": categories, "annotations": annotations}
    write_json(path, coco, indent=None)
