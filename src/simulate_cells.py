"""Write a simulated data set of phase-contrast images, to try the whole pipeline without any data.

    python src/simulate_cells.py --out_dir data/simulated --n_train 60 --n_valid 12 --seed 67
    python src/train_cis.py --image_dir data/simulated/images \
        --annotation_dir data/simulated/annotations --out_dir models/simulated ...

Images are in <out_dir>/images, COCO annotations in <out_dir>/annotations. With --layouts the cells
are drawn on the masks of an existing annotation file instead of on random shapes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utils.runtime import InputError, run_script

if TYPE_CHECKING:
    import numpy as np

    from utils.cell_shapes import Cell

MIN_SIDE = 64  # pixels; smaller images hold no whole cell
TYPE_NAMES = ("shsy5y", "astro", "cort")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out_dir", default="data/simulated")
    add("--n_train", type=int, default=60, help="training images (default: %(default)s)")
    add("--n_valid", type=int, default=12, help="validation images (default: %(default)s)")
    add("--seed", type=int, default=67)
    add("--image_size", type=int, nargs=2, default=(704, 520), metavar=("WIDTH", "HEIGHT"))
    add("--layouts", help="COCO file whose masks are drawn; images are taken in random order")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if min(args.n_train, args.n_valid) < 0 or args.n_train + args.n_valid == 0:
        raise InputError("--n_train and --n_valid: must not be negative, nor both 0")
    if min(args.image_size) < MIN_SIDE:
        raise InputError(f"--image_size: sides must be at least {MIN_SIDE} pixels")
    layouts = load_layouts(args.layouts) if args.layouts else None
    for number, (split, count) in enumerate((("train", args.n_train), ("valid", args.n_valid))):
        if count:
            write_split(split, count, (args.seed, number), layouts, args)


def write_split(
    split: str,
    count: int,
    seed: tuple[int, int],
    layouts: list[tuple[str, tuple[int, int], list[Cell]]] | None,
    args: argparse.Namespace,
) -> None:
    """Draw `count` images and write them with their annotation file."""
    import numpy as np
    from tqdm import tqdm

    from utils.cell_shapes import CELL_TYPES, random_layout
    from utils.outputs import write_picture
    from utils.runtime import atomic_path
    from utils.simulation import render

    out_dir = Path(args.out_dir)
    images, annotations = [], []
    for index in tqdm(range(count), desc=split):
        rng = np.random.default_rng((*seed, index))  # an image does not depend on the others
        if layouts:
            name, image_size, cells = layouts[rng.integers(len(layouts))]
        else:
            cell_type = CELL_TYPES[index % len(CELL_TYPES)]
            name, image_size = cell_type.name, (args.image_size[1], args.image_size[0])
            cells = random_layout(cell_type, image_size, rng)
        image_id = f"{split}_{index:04d}_{name}"
        write_picture(out_dir / "images" / f"{image_id}.png", render(cells, name, image_size, rng))
        images.append(
            {
                "id": image_id,
                "file_name": f"{image_id}.png",
                "width": image_size[1],
                "height": image_size[0],
            }
        )
        annotations += [annotation(cell, image_id, name, image_size) for cell in cells]
    for number, row in enumerate(annotations, start=1):
        row["id"] = number
    categories = [{"id": i, "name": name} for i, name in enumerate(TYPE_NAMES, start=1)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    with atomic_path(out_dir / "annotations" / f"annotations_{split}_0.json") as temporary:
        temporary.write_text(json.dumps(coco), encoding="utf-8")


def annotation(cell: Cell, image_id: str, name: str, image_size: tuple[int, int]) -> dict:
    """COCO annotation of one cell, without its id."""
    from utils.masks import encode, paste

    height, width = cell.mask.shape
    return {
        "image_id": image_id,
        "category_id": TYPE_NAMES.index(name) + 1,
        "segmentation": encode(paste(cell.mask, cell.offset, image_size)),
        "bbox": [*map(int, cell.offset), width, height],
        "area": int(cell.mask.sum()),
        "iscrowd": 0,
    }


def load_layouts(path: str) -> list[tuple[str, tuple[int, int], list[Cell]]]:
    """Cell type, (height, width) and cells of each image of a COCO file; its pixels are not needed.

    Raises:
        InputError: not a COCO file, or categories other than the simulator's.
    """
    from pycocotools import mask as coco_mask

    from utils.annotations import read_coco, to_rle
    from utils.cell_shapes import Cell

    coco = read_coco(Path(path))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    if not set(names.values()) <= set(TYPE_NAMES):
        raise InputError(f"--layouts {path}: categories must be among {', '.join(TYPE_NAMES)}")
    by_image: dict = {row["id"]: [] for row in coco["images"]}
    for row in coco["annotations"]:
        by_image[row["image_id"]].append(row)
    layouts = []
    for image in coco["images"]:
        rows = by_image[image["id"]]
        cells = []
        for row in rows:
            rle = to_rle(row["segmentation"], image["height"], image["width"])
            x, y, w, h = coco_mask.toBbox(rle).astype(int)
            crop = coco_mask.decode(rle)[y : y + h, x : x + w].astype(bool)
            cells.append(Cell(crop, (int(x), int(y))))
        if rows:
            size = image["height"], image["width"]
            layouts.append((names[rows[0]["category_id"]], size, cells))
    return layouts


if __name__ == "__main__":
    run_script(main, parse_args())
