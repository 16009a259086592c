"""COCO annotations: of one image, as `infer_cis.py` writes them, or of many."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cells.annotations import read_coco, repeated_ids
from cells.imports.contents import Contents, ImportedCell
from cells.rle import rle_crop, to_rle
from utils.script import InputError


@dataclass
class CocoImage:
    """One image of a COCO file.

    Attributes:
        file_name: as the file has it.
        image_size: (height, width), as the file has it.
        contents: its cells.
    """

    file_name: str
    image_size: tuple[int, int]
    contents: Contents = field(default_factory=Contents)


def read_images(path: Path) -> tuple[list[CocoImage], list[str], list[str]]:
    """All images of a file.

    Returns:
        The images; the class names in the order of their ids; a line for each annotation that
        belongs to no image.

    Raises:
        InputError: see `read_coco`; or images or categories share an id.
    """
    coco = read_coco(path)
    if repeated := repeated_ids(coco, ("images", "categories")):
        raise InputError(f"{path}: {'; '.join(repeated[:3])}; give each an id of its own")
    categories = sorted(coco["categories"], key=lambda category: category["id"])
    name_of = {category["id"]: category["name"] for category in categories}
    images = {
        row["id"]: CocoImage(row["file_name"], (row["height"], row["width"]))
        for row in coco["images"]
    }
    strays = []
    for row in coco["annotations"]:
        where = f"{path}: annotation {row.get('id')}"
        image = images.get(row.get("image_id"))
        if image is None:
            strays.append(f"{where}: image_id {row.get('image_id')!r:.40} is not among the images")
        elif row.get("category_id") not in name_of:
            image.contents.problems.append(
                f"{where}: unknown category_id {row.get('category_id')!r:.40}"
            )
        else:
            _add(image, row, name_of[row["category_id"]], where)
    return list(images.values()), list(name_of.values()), strays


def _add(image: CocoImage, row: dict, class_name: str, where: str) -> None:
    try:
        crop = rle_crop(to_rle(row.get("segmentation"), *image.image_size))
    except ValueError as error:
        image.contents.problems.append(f"{where} ({image.file_name}): {error}")
    else:
        crowd = bool(row.get("iscrowd", 0))
        image.contents.cells.append(ImportedCell(crop, class_name, crowd))
