"""Time that one training window of a large, crowded image takes to load and augment.

    python benchmarks/benchmark_loader.py

A disc of 15 to 25 pixels on every grid point, all run-length encoded, through the pipeline of the
slim configuration, which cuts a window of 512 network pixels; one core. Reading the file is apart:
the images are uncompressed TIFFs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from measuring import median_seconds
from tables import markdown, milliseconds

from cells.annotations import load_annotations
from utils.files import write_json
from utils.options import at_least, script_parser
from utils.script import quiet_libraries

ROOT = Path(__file__).resolve().parents[1]
CASES = ((520, 100), (2048, 2000), (4000, 5000))  # side in pixels, cells


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--repeats", type=at_least(1), default=10, help="windows (median)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from training.config import load_config, training_pipeline
    from training.dataset import CellDataset
    from training.transforms import LoadCellImage

    cv2.setNumThreads(0)
    config = load_config(str(ROOT / "configs" / "mask_rcnn_resnest50_slim.py"))
    config.inference.update(scale=1.6, pixel_mean=[128.0] * 3, pixel_std=[12.0] * 3)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side, cells in CASES:
            record = write_image(Path(folder), side, cells)
            data = CellDataset([record], training_pipeline(config), seed=0)
            windows = [len(data[0, i]["gt_labels"].data) for i in range(args.repeats)]
            read = median_seconds(partial(LoadCellImage(), {"record": record}), args.repeats)
            whole = median_seconds(partial(data.__getitem__, (0, 1)), args.repeats)
            found = str(int(np.median(windows)))
            rows.append((f"{side} x {side}", str(cells), found, *map(milliseconds, (whole, read))))
    print("milliseconds:\n")
    print(markdown(("image", "cells", "in a window", "a window", "of it reading"), rows))


def write_image(folder: Path, side: int, cells: int):
    """Write an image of `side` pixels with discs on a grid; returns its record."""
    rng = np.random.default_rng(side)
    image = rng.integers(118, 139, (side, side), dtype=np.uint8)
    per_row = int(np.ceil(np.sqrt(cells)))
    step = side / per_row
    annotations = []
    for index in range(cells):
        row, column = divmod(index, per_row)
        centre = int((column + 0.5) * step), int((row + 0.5) * step)
        radius = int(rng.integers(7, 13))
        polygon = cv2.ellipse2Poly(centre, (radius, radius), 0, 0, 360, 20)
        cv2.fillPoly(image, [polygon], 190)
        annotation = dict(
            id=index + 1, image_id="1", category_id=1, segmentation=[polygon.ravel().tolist()]
        )
        annotations.append(annotation)
    name = f"{side}.tif"
    tifffile.imwrite(folder / name, image)
    coco = dict(
        images=[dict(id="1", file_name=name, width=side, height=side)],
        annotations=annotations,
        categories=[dict(id=1, name="cell")],
    )
    write_json(folder / f"{side}.json", coco)
    return load_annotations(folder / f"{side}.json", folder).images[0]


if __name__ == "__main__":
    main(parse_args())
