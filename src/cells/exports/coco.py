"""COCO annotations, which `train_cis.py` reads, too."""

from __future__ import annotations

from pathlib import Path

from pycocotools import mask as coco_mask

from cells.exports.segmented import SegmentedImage
from cells.rle import to_rles
from utils.files import write_json


def write_coco(path: Path, segmented: SegmentedImage) -> None:
    """A COCO file of this image with RLE masks, their tight boxes, and scores; cells may overlap.

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
            "bbox": [float(side) for side in coco_mask.toBbox(rle)],
            "area": int(coco_mask.area(rle)),
            "iscrowd": 0,
            "score": float(score),
        }
        for i, (label, rle, score) in enumerate(
            zip(instances.labels, to_rles(instances), instances.scores, strict=True)
        )
    ]
    image = {"id": name, "file_name": segmented.file_name, "width": width, "height": height}
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(segmented.class_names)]
    coco = {"images": [image], "categories": categories, "annotations": annotations}
    write_json(path, coco, indent=None)
