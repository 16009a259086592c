"""Simulated data sets: layouts of cells, drawn or taken from annotations, and files written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from cells.annotations import read_coco
from cells.exports.picture import write_picture
from cells.masks import Crop, paste
from cells.rle import encode, rle_crop, to_rle
from simulation.cell_types import CELL_TYPES
from simulation.render import render
from simulation.shapes import random_layout
from utils.files import write_json
from utils.script import InputError

TYPE_NAMES = tuple(CELL_TYPES)  # in the order of their category ids, which start at 1
SIMULATED = re.compile(rf"(train|valid)_\d{{4,}}_({'|'.join(TYPE_NAMES)})\.png")  # file names


class Layout(NamedTuple):
    """What to draw in one image; the cells are random where they are None."""

    type_name: str
    image_size: tuple[int, int]  # (height, width) in pixels
    cells: list[Crop] | None


class Task(NamedTuple):
    """One image to write; `seed` holds the user's seed, the split's number and the image's."""

    path: Path
    seed: tuple[int, int, int]
    choices: Sequence[Layout]  # one is drawn


def random_layouts(image_size: tuple[int, int]) -> list[list[Layout]]:
    """One choice for each cell type: random cells in an image of (height, width) pixels."""
    return [[Layout(name, image_size, None)] for name in TYPE_NAMES]


def load_layouts(path: Path) -> list[list[Layout]]:
    """Layouts of a COCO file by cell type, for the types that occur; its pixels are not needed.

    Raises:
        InputError: not a COCO file, a broken mask, categories other than the simulator's, an image
            of several cell types, or no cells at all.
    """
    coco = read_coco(path)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    by_image: dict = {image["id"]: [] for image in coco["images"]}
    for row in coco["annotations"]:
        if row.get("image_id") not in by_image or row.get("category_id") not in names:
            raise InputError(f"{path}: annotation {row.get('id')}: unknown image_id or category_id")
        if not row.get("iscrowd", 0):
            by_image[row["image_id"]].append(row)
    by_type: dict[str, list[Layout]] = {name: [] for name in TYPE_NAMES}
    for image in coco["images"]:
        rows = by_image[image["id"]]
        types = {names[row["category_id"]] for row in rows}
        if not rows:
            continue
        if len(types) > 1 or not types <= by_type.keys():
            known = ", ".join(TYPE_NAMES)
            raise InputError(f"{path}: image {image['id']}: needs cells of one type among {known}")
        size = image["height"], image["width"]
        name = types.pop()
        by_type[name].append(Layout(name, size, [_cell(row, size, path) for row in rows]))
    layouts = [of_type for of_type in by_type.values() if of_type]
    if not layouts:
        raise InputError(f"{path}: no annotated cells in it")
    return layouts


def check_replaceable(out_dir: Path, split: str) -> None:
    """Refuse to write over annotations of other images than simulated ones.

    Raises:
        InputError: names `--out_dir`.
    """
    path = _annotation_file(out_dir, split)
    if not path.is_file():
        return
    names = [image["file_name"] for image in read_coco(path)["images"]]
    if not all(SIMULATED.fullmatch(name) for name in names):
        raise InputError(
            f"--out_dir {out_dir}: {path} holds annotations of other images; name another folder"
        )


def _annotation_file(out_dir: Path, split: str) -> Path:
    return out_dir / "annotations" / f"annotations_{split}_0.json"


def write_split(
    out_dir: Path,
    split: str,
    count: int,
    seed: tuple[int, int],
    choices: Sequence[Sequence[Layout]],
    workers: int = 1,
) -> None:
    """Draw images and write them with their annotation file.

    Args:
        out_dir: gets `images/<split>_<number>_<type>.png` and `annotations/annotations_<split>_0`.
        split: "train" or "valid".
        count: number of images.
        seed: the user's seed and the split's number.
        choices: layouts of each cell type; the types take turns.
        workers: processes that draw; the images do not depend on it.

    Raises:
        InputError: the folder cannot be written to.
    """
    tasks = []
    for index in range(count):
        of_type = choices[index % len(choices)]
        path = out_dir / "images" / f"{split}_{index:04d}_{of_type[0].type_name}.png"
        tasks.append(Task(path, (*seed, index), of_type))
    images, annotations = [], []
    for image, rows in tqdm(_parallel_map(_draw, tasks, workers), total=count, desc=split):
        images.append(image)
        annotations += rows
    for number, row in enumerate(annotations, start=1):
        row["id"] = number
    categories = [{"id": i, "name": name} for i, name in enumerate(TYPE_NAMES, start=1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    write_json(_annotation_file(out_dir, split), coco, indent=None)


def _parallel_map(function: Callable, items: Sequence, workers: int) -> Iterator:
    """`map` in the items' order, with `workers` processes; one stays in this process."""
    if workers == 1:
        yield from map(function, items)
        return
    # A fresh interpreter: forking a process that runs threads (OpenCV, tqdm) can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items)


def _draw(task: Task) -> tuple[dict, list[dict]]:
    """Draw and write one image; returns its COCO record and annotations, the latter without ids."""
    rng = np.random.default_rng(task.seed)
    name, image_size, cells = task.choices[rng.integers(len(task.choices))]
    if cells is None:
        cells = random_layout(CELL_TYPES[name], image_size, rng)
    write_picture(task.path, render(cells, name, image_size, rng))
    height, width = image_size
    record = {
        "id": task.path.stem,
        "file_name": task.path.name,
        "width": width,
        "height": height,
    }
    return record, [_annotation(cell, task.path.stem, name, image_size) for cell in cells]


def _annotation(cell: Crop, image_id: str, name: str, image_size: tuple[int, int]) -> dict:
    """COCO annotation of one cell, without its id."""
    height, width = cell.mask.shape
    return {
        "image_id": image_id,
        "category_id": TYPE_NAMES.index(name) + 1,
        "segmentation": encode(paste(cell.mask, cell.offset, image_size)),
        "bbox": [*map(int, cell.offset), width, height],
        "area": int(cell.mask.sum()),
        "iscrowd": 0,
    }


def _cell(row: dict, image_size: tuple[int, int], path: Path) -> Crop:
    """The cell of one COCO annotation; `path` is for the message of an `InputError`."""
    try:
        rle = to_rle(row.get("segmentation"), *image_size)
    except ValueError as error:
        raise InputError(f"{path}: annotation {row.get('id')}: {error}") from error
    return rle_crop(rle)
