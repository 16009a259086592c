"""Write a simulated data set of phase-contrast images, to try the whole pipeline without any data.

    python src/simulate_cells.py --out_dir data/simulated --n_train 60 --n_valid 12 --seed 67
    python src/simulate_cells.py --layouts annotations_train_0.json --n_train 200 --workers 4

Images are in <out_dir>/images, COCO annotations in <out_dir>/annotations. Each image holds one
cell type; the types take turns. With --layouts the cells are drawn on the masks of an existing
annotation file instead of on random shapes. An image depends on the seed, its split and its number
only.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from utils.files import write_json
from utils.options import at_least, script_parser
from utils.script import InputError, run_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulation.shapes import Cell

MIN_SIDE = 32  # pixels; smaller images hold no whole cell
TYPE_NAMES = ("shsy5y", "astro", "cort")  # in the order of their category ids, which start at 1


class Layout(NamedTuple):
    """What to draw in one image; the cells are random where they are None."""

    type_name: str
    image_size: tuple[int, int]  # (height, width) in pixels
    cells: list[Cell] | None


class Task(NamedTuple):
    """One image to write; `seed` holds the user's seed, the split's number and the image's."""

    path: Path
    seed: tuple[int, int, int]
    choices: Sequence[Layout]  # one is drawn


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--out_dir", default="data/simulated", help="(default: %(default)s)")
    add("--n_train", type=at_least(0), default=60, help="training images (default: %(default)s)")
    add("--n_valid", type=at_least(0), default=12, help="validation images (default: %(default)s)")
    add("--seed", type=at_least(0), default=67, help="0 or more (default: %(default)s)")
    add(
        "--image_size",
        type=at_least(MIN_SIDE),
        nargs=2,
        default=(704, 520),
        metavar=("WIDTH", "HEIGHT"),
        help="pixels (default: 704 520); images of --layouts keep their own size",
    )
    add("--layouts", metavar="FILE", help="COCO annotation file whose masks are drawn")
    add("--workers", type=at_least(1), default=1, help="processes that draw (default: %(default)s)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if args.n_train + args.n_valid == 0:
        raise InputError("--n_train and --n_valid: both are 0; give a number of images")
    choices = load_layouts(Path(args.layouts)) if args.layouts else random_layouts(args.image_size)
    for number, (split, count) in enumerate((("train", args.n_train), ("valid", args.n_valid))):
        if count:
            write_split(split, count, (args.seed, number), choices, args)


def random_layouts(image_size: Sequence[int]) -> list[list[Layout]]:
    """One choice for each cell type: random cells in an image of (width, height) pixels."""
    width, height = image_size
    return [[Layout(name, (height, width), None)] for name in TYPE_NAMES]


def write_split(
    split: str,
    count: int,
    seed: tuple[int, int],
    choices: Sequence[Sequence[Layout]],
    args: argparse.Namespace,
) -> None:
    """Draw `count` images and write them with their annotation file.

    Args:
        seed: the user's seed and the split's number.
        choices: layouts of each cell type; the types take turns.
    """
    from tqdm import tqdm

    out_dir = Path(args.out_dir)
    tasks = []
    for index in range(count):
        of_type = choices[index % len(choices)]
        path = out_dir / "images" / f"{split}_{index:04d}_{of_type[0].type_name}.png"
        tasks.append(Task(path, (*seed, index), of_type))
    images, annotations = [], []
    for image, rows in tqdm(parallel_map(draw, tasks, args.workers), total=count, desc=split):
        images.append(image)
        annotations += rows
    for number, row in enumerate(annotations, start=1):
        row["id"] = number
    categories = [{"id": i, "name": name} for i, name in enumerate(TYPE_NAMES, start=1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    write_json(out_dir / "annotations" / f"annotations_{split}_0.json", coco, indent=None)


def parallel_map(function: Callable, items: Sequence, workers: int) -> Iterator:
    """`map` in the items' order, with `workers` processes; one stays in this process."""
    if workers == 1:
        yield from map(function, items)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A fresh interpreter: forking a process that runs threads (OpenCV, tqdm) can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items)


def draw(task: Task) -> tuple[dict, list[dict]]:
    """Draw and write one image; returns its COCO record and annotations, the latter without ids."""
    import numpy as np

    from cells.exports.picture import write_picture
    from simulation.render import render
    from simulation.shapes import CELL_TYPES, random_layout

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
    return record, [annotation(cell, task.path.stem, name, image_size) for cell in cells]


def annotation(cell: Cell, image_id: str, name: str, image_size: tuple[int, int]) -> dict:
    """COCO annotation of one cell, without its id."""
    from cells.masks import encode, paste

    height, width = cell.mask.shape
    return {
        "image_id": image_id,
        "category_id": TYPE_NAMES.index(name) + 1,
        "segmentation": encode(paste(cell.mask, cell.offset, image_size)),
        "bbox": [*map(int, cell.offset), width, height],
        "area": int(cell.mask.sum()),
        "iscrowd": 0,
    }


def load_layouts(path: Path) -> list[list[Layout]]:
    """Layouts of a COCO file by cell type, for the types that occur; its pixels are not needed.

    Raises:
        InputError: not a COCO file, a broken mask, categories other than the simulator's, an image
            of several cell types, or no cells at all.
    """
    from cells.annotations import read_coco

    coco = read_coco(path)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    by_image: dict = {image["id"]: [] for image in coco["images"]}
    for row in coco["annotations"]:
        if row.get("image_id") not in by_image or row.get("category_id") not in names:
            raise InputError(f"{path}: annotation {row.get('id')}: unknown image_id or category_id")
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
        by_type[name].append(Layout(name, size, [to_cell(row, size, path) for row in rows]))
    layouts = [of_type for of_type in by_type.values() if of_type]
    if not layouts:
        raise InputError(f"{path}: no annotated cells in it")
    return layouts


def to_cell(row: dict, image_size: tuple[int, int], path: Path) -> Cell:
    """The cell of one COCO annotation; `path` is for the message of an `InputError`."""
    from cells.rle import rle_crop, to_rle
    from simulation.shapes import Cell

    try:
        rle = to_rle(row.get("segmentation"), *image_size)
    except ValueError as error:
        raise InputError(f"{path}: annotation {row.get('id')}: {error}") from error
    return Cell(*rle_crop(rle))


if __name__ == "__main__":
    run_script(main, parse_args())
