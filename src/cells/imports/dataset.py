"""Imported cells as training data: classes, split, annotation files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cells.annotations import AnnotationSet, load_annotations
from cells.imports.contents import ImportedCell
from cells.rle import encode_crop
from utils.files import atomic_path, write_json


class LabelledImage(NamedTuple):
    """An image with its cells.

    Attributes:
        id: unique among the images.
        file_name: relative to the folder of the images, with "/".
        image_size: (height, width) in pixels.
        cells: each with a class name.
    """

    id: str
    file_name: str
    image_size: tuple[int, int]
    cells: Sequence[ImportedCell]


def split_by_share(file_names: Sequence[str], share: float) -> set[str]:
    """Images to validate on: drawn by their names, so that the same ones are drawn again.

    Of two images or more, at least one is on either side, unless the share is 0 or 1.
    """
    count = round(share * len(file_names))
    if 0 < share < 1 and len(file_names) > 1:
        count = min(max(count, 1), len(file_names) - 1)
    drawn = sorted(file_names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(drawn[:count])


def to_coco(images: Sequence[LabelledImage], class_names: Sequence[str]) -> dict:
    """COCO annotations with RLE masks; categories are numbered from 1 in the order of the names."""
    category_of = {name: i for i, name in enumerate(class_names, start=1)}
    records: list[dict] = []
    annotations: list[dict] = []
    for image in images:
        height, width = image.image_size
        row = {"id": image.id, "file_name": image.file_name, "width": width, "height": height}
        records.append(row)
        for cell in image.cells:
            assert cell.class_name is not None
            mask, offset = cell.crop
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": category_of[cell.class_name],
                    "segmentation": encode_crop(mask, offset, image.image_size),
                    "bbox": [*map(int, offset), mask.shape[1], mask.shape[0]],
                    "area": int(mask.sum()),
                    "iscrowd": int(cell.iscrowd),
                }
            )
    categories = [{"id": i, "name": name} for name, i in category_of.items()]
    return {"images": records, "annotations": annotations, "categories": categories}


def write_annotations(
    targets: Mapping[Path, Sequence[LabelledImage]], class_names: Sequence[str], image_dir: Path
) -> dict[Path, AnnotationSet]:
    """Write annotation files, all of them or none, after loading them as the training does.

    Args:
        targets: the images of each file.
        class_names: of all files, in the order of the labels.
        image_dir: folder of the images.

    Returns:
        What the training will load from each file.

    Raises:
        InputError: a folder cannot be written to, or the training would refuse a file.
    """
    loaded = {}
    with ExitStack() as stack:
        for path, images in targets.items():
            temporary = stack.enter_context(atomic_path(path))
            write_json(temporary, to_coco(images, class_names), indent=None)
            loaded[path] = load_annotations(temporary, image_dir)
    return loaded
