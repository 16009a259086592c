"""Time and memory of writing the cells of one large image in each format.

    python benchmarks/benchmark_exports.py --formats geojson
    python benchmarks/benchmark_exports.py --cells 1000 --side 1000

100,000 cells of about 20 pixels across on 10,000 x 10,000 pixels. Each format in a process of its
own, whose memory is what is there at its most: libraries, the image (300 MB) and the masks with it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from cells.exports.formats import FORMATS
from cells.exports.segmented import SegmentedImage
from cells.exports.writers import WRITERS
from cells.instances import Instances
from utils.options import at_least, script_parser
from utils.stages import peak_memory_mb


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--cells", type=at_least(1), default=100_000)
    add("--side", type=at_least(50), default=10_000, help="of the square image, in pixels")
    add("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    for name in args.formats:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            seconds, size, peak = pool.submit(measure, name, args.cells, args.side).result()
        print(f"{name:>8}: {seconds:7.1f} s, file {size / 1e6:7.1f} MB, process {peak:5d} MB")


def measure(name: str, cells: int, side: int) -> tuple[float, int, int]:
    """Seconds of writing, bytes of the file, and peak memory of this process in MB."""
    segmented = large_image(cells, side)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"large{FORMATS[name].suffix}"
        start = time.process_time()
        WRITERS[name](path, segmented)
        return time.process_time() - start, path.stat().st_size, peak_memory_mb()


def large_image(cells: int, side: int) -> SegmentedImage:
    """Ellipses of random size and direction at random places; some overlap."""
    rng = np.random.default_rng(0)
    reach = 14
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    shapes = []
    for _ in range(200):
        long, short, angle = rng.uniform(8, 13), rng.uniform(5, 9), rng.uniform(0, np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        shapes.append(0.9 * ((along / long) ** 2 + (across / short) ** 2 < 1).astype(np.float32))
    offsets = rng.integers(0, side - 2 * reach - 1, (cells, 2))
    instances = Instances(
        (side, side),
        np.hstack([offsets, offsets + 2 * reach + 1]).astype(np.float32),
        rng.uniform(0.3, 1, cells).astype(np.float32),
        rng.integers(0, 3, cells),
        [shapes[i].copy() for i in rng.integers(0, len(shapes), cells)],
        offsets,
    )
    image = np.full((side, side, 3), 120, np.uint8)
    return SegmentedImage("large", "large.tif", image, instances, ("a", "b", "c"))


if __name__ == "__main__":
    main(parse_args())
