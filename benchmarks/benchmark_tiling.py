"""Images of any size: the same cells as in single fields, and time and memory of a large one.

    python benchmarks/benchmark_tiling.py
    python benchmarks/benchmark_tiling.py --images 'data/images/*.png' --side 15000
    python benchmarks/benchmark_tiling.py --small

Fields of one size, by default simulated ones, are put together to a mosaic. What is found in it is
compared with what is found in each field alone. Then a larger mosaic of the same fields is written
as a tiled TIFF, and `infer_cis.py` segments it, and as many single fields as are asked for, with a
label image, a table and a picture of each; both in processes of their own.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tables import markdown

from utils.options import at_least, script_parser
from utils.paths import BUNDLED_MODELS, in_repository, list_images, split_paths
from utils.script import InputError, quiet_libraries, run_script

if TYPE_CHECKING:
    import numpy as np

    from cells.instances import Instances

SRC = Path(__file__).resolve().parents[1] / "src"
SEAM = 8  # pixels: cells that come so near to the border of a field are at a seam
STRIP = 256  # a side of the TIFF's tiles


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--images", nargs="+", help="fields of one size (default: simulated ones, 704 x 520)")
    add("--fields", type=at_least(1), default=9, help="how many (default: %(default)s)")
    add(
        "--weights",
        nargs="+",
        default=[in_repository(path) for path in BUNDLED_MODELS],
        help="checkpoints (default: the bundled models)",
    )
    add("--side", type=at_least(1), default=15_000, help="pixels of the large image's sides")
    add("--overlap", type=at_least(0), default=0, help="see infer_cis.py")
    add("--threads", type=at_least(1), help="cores (default: all)")
    add("--small", action="store_true", help="four fields, and a side of 1,500 pixels")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if args.small:
        args.fields, args.side = min(args.fields, 4), min(args.side, 1500)
    weights = split_paths(args.weights)
    with tempfile.TemporaryDirectory() as folder:
        paths = choose_fields(args, Path(folder))
        quiet_libraries()
        print(markdown(*agreement(paths, weights, args)))
        print()
        print(markdown(*large_image(paths, weights, args, Path(folder))))


def choose_fields(args: argparse.Namespace, folder: Path) -> list[Path]:
    """Files of the fields; simulated ones are written to a folder."""
    if args.images:
        return [Path(path) for path in list_images(args.images)[: args.fields]]
    command = [sys.executable, str(SRC / "simulate_cells.py"), "--out_dir", str(folder / "fields")]
    count = ["--n_train", str(args.fields), "--n_valid", "0"]
    subprocess.run([*command, *count], check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "fields" / "images").rglob("*.png"))[: args.fields]


def read_fields(paths: Sequence[Path]) -> list[np.ndarray]:
    """uint8 BGR images, all of the first one's size.

    Raises:
        InputError: they are not.
    """
    from cells.images import read_image

    fields = [read_image(path) for path in paths]
    for path, field in zip(paths, fields, strict=True):
        if field.shape != fields[0].shape:
            raise InputError(f"--images {path}: of another size than {paths[0]}")
    return fields


def agreement(
    paths: Sequence[Path], weights: Sequence[str], args: argparse.Namespace
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: cells of the fields, how many of them are in the mosaic, and how often."""
    import numpy as np
    import torch

    from network.ensemble import load_ensemble
    from network.tiles import moved
    from network.tiling import TiledEnsemble, Tiling
    from utils.device import resolve_precision, use_threads

    use_threads(args.threads)
    device = torch.device("cpu")
    ensemble = load_ensemble(weights, device, resolve_precision("auto", device))
    fields = read_fields(paths)
    columns = math.ceil(math.sqrt(len(fields)))
    fields = fields[: len(fields) // columns * columns]
    height, width = fields[0].shape[:2]
    rows = [np.hstack(fields[i : i + columns]) for i in range(0, len(fields), columns)]
    mosaic = np.vstack(rows)
    size = mosaic.shape[0], mosaic.shape[1]
    tiling = Tiling(tile_size=(height, width), overlap=args.overlap)
    found = TiledEnsemble(ensemble, tiling).predict(mosaic)
    counts = {"away from seams": [0, 0, 0], "at seams": [0, 0, 0]}
    for number, field in enumerate(fields):
        y, x = number // columns * height, number % columns * width
        alone = moved(ensemble.predict(field), x, y, size)
        for place, matches in compare(alone, found, (y, y + height, x, x + width)):
            count = counts[place]
            count[0] += 1
            count[1] += matches >= 1
            count[2] += matches > 1
    header = ["cells", "in the fields", "in the mosaic, IoU 0.9", "share", "doubled"]
    return header, [
        [place, str(n), str(same), f"{same / n:.1%}" if n else "", str(doubled)]
        for place, (n, same, doubled) in counts.items()
    ]


def compare(
    alone: Instances, found: Instances, field: tuple[int, int, int, int]
) -> Iterator[tuple[str, int]]:
    """For each cell of a field where it lies, and how many cells of the mosaic equal it.

    Args:
        alone: of the field, in the frame of the mosaic.
        found: of the mosaic.
        field: y0 y1 x0 x1 in the mosaic.
    """
    import numpy as np

    from cells.masks import binary_crops, tight_crop
    from cells.rle import rle_iou, to_rles

    y0, y1, x0, x1 = field
    mosaic_height, mosaic_width = alone.image_size
    reach = found.boxes
    inside = (reach[:, 0] < x1) & (reach[:, 2] > x0) & (reach[:, 1] < y1) & (reach[:, 3] > y0)
    matches = (rle_iou(to_rles(alone), to_rles(found[inside])) >= 0.9).sum(axis=1)
    crops = binary_crops(alone)
    for crop, offset, count in zip(crops, alone.offsets, matches.tolist(), strict=True):
        tight = tight_crop(crop, offset)
        low, high = np.array(tight.offset), np.array(tight.offset) + tight.mask.shape[::-1]
        at_seam = (
            (x0 > 0 and low[0] < x0 + SEAM)
            or (y0 > 0 and low[1] < y0 + SEAM)
            or (x1 < mosaic_width and high[0] > x1 - SEAM)
            or (y1 < mosaic_height and high[1] > y1 - SEAM)
        )
        yield ("at seams" if at_seam else "away from seams"), count


def large_image(
    paths: Sequence[Path], weights: Sequence[str], args: argparse.Namespace, folder: Path
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: cells, seconds and memory of the fields alone, and of a large image.

    What the program takes to start is measured with one field, and not counted.
    """
    large = write_large(paths, args.side, folder / "large.tif")
    height, width = read_fields(paths[:1])[0].shape[:2]
    field = height * width / 1e6
    one = run_measured(paths[:1], weights, args, folder / "one")
    runs = {
        f"{len(paths)} fields": (run_measured(paths, weights, args, folder / "all"), len(paths)),
        f"{args.side} x {args.side}": (
            run_measured([large], weights, args, folder / "large"),
            args.side**2 / 1e6 / field,
        ),
    }
    rows, first = [], None
    for name, (run, fields) in runs.items():
        more = field * max(fields - 1, 0) or math.nan
        rates = (run.seconds - one.seconds) / more, (run.processor - one.processor) / more
        first = first or rates
        wall, processor = (
            f"{rate:.2f} ({rate / usual:.2f})" for rate, usual in zip(rates, first, strict=True)
        )
        size, seconds = f"{field * fields:.1f}", f"{run.seconds:.0f}"
        rows.append([name, str(run.cells), size, seconds, wall, processor, str(run.memory)])
    header = ["image", "cells", "megapixels", "s", "s/megapixel", "CPU s/megapixel", "peak MB"]
    return header, rows


def write_large(paths: Sequence[Path], side: int, path: Path) -> Path:
    """A mosaic of the fields, repeated, as a compressed TIFF in tiles; a band is in memory."""
    import numpy as np
    import tifffile

    fields = [field[:, :, 0] for field in read_fields(paths)]
    height, width = fields[0].shape

    def line(y: int) -> np.ndarray:
        """One row of pixels, uint8 [side + STRIP]; the fields change from row to row of them."""
        columns = range(-(-(side + STRIP) // width))
        chosen = [fields[(y // height * 7 + column) % len(fields)] for column in columns]
        return np.hstack([field[y % height] for field in chosen])[: side + STRIP]

    def tiles() -> Iterator[np.ndarray]:
        for y in range(0, side, STRIP):
            band = np.array([line(row) for row in range(y, y + STRIP)])
            for x in range(0, side, STRIP):
                yield np.ascontiguousarray(band[:, x : x + STRIP])

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side),
        dtype=np.uint8,
        tile=(STRIP, STRIP),
        compression="zlib",
        photometric="minisblack",
    )
    return path


@dataclass(frozen=True)
class Run:
    """Wall and processor seconds and peak memory in megabytes of a run, and the cells found."""

    seconds: float
    processor: float
    memory: int
    cells: int


def run_measured(
    images: Sequence[Path], weights: Sequence[str], args: argparse.Namespace, out_dir: Path
) -> Run:
    """Segment images as a user does.

    Raises:
        InputError: it fails.
    """
    command = [sys.executable, str(SRC / "infer_cis.py"), "--image", *map(str, images)]
    command += ["--weights", *weights, "--out_dir", str(out_dir), "--save", "labels", "csv"]
    command += ["--device", "cpu", "--overlap", str(args.overlap)]
    command += ["--threads", str(args.threads)] if args.threads else []
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise InputError("infer_cis.py failed, see above")
    with open(out_dir / "summary.csv", encoding="utf-8", newline="") as file:
        cells = sum(int(row["cells"]) for row in csv.DictReader(file))
    processor = usage.ru_utime + usage.ru_stime
    return Run(seconds, processor, usage.ru_maxrss // 1024, cells)


if __name__ == "__main__":
    run_script(main, parse_args())
