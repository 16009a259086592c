"""Memory of infer_cis.py while it goes through many small images.

    python benchmarks/benchmark_memory.py
    python benchmarks/benchmark_memory.py --images 300 --save labels geojson

A tiny model with random weights, which finds up to twenty cells in each of 10,000 images of
128 x 96 pixels. The program's resident memory is read after each image (Linux only). Exit code 1
says that it grew by more than --allowed MB after the first hundred images.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

from tables import markdown

from cells.exports.formats import FORMATS
from utils.options import at_least, script_parser
from utils.script import InputError, quiet_libraries, run_script

ROOT = Path(__file__).resolve().parents[1]
WARM = 100  # images until all buffers, kernels and caches are there
MB = 2**20


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--images", type=at_least(2), default=10_000)
    add("--save", nargs="*", choices=FORMATS, default=["labels", "csv"], help="see infer_cis.py")
    add("--allowed", type=at_least(0.0), default=50.0, metavar="MB")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder) / "images", args.images)
        weights = write_model(Path(folder) / "tiny.pth")
        command = [sys.executable, str(ROOT / "src" / "infer_cis.py"), "--image", str(images)]
        command += ["--weights", str(weights), "--out_dir", str(Path(folder) / "out")]
        command += ["--device", "cpu", "--threads", "1"]
        command += ["--save", *args.save] if args.save else []
        memory, peak = watch(command)
    if len(memory) != args.images:
        raise InputError(f"{len(memory)} of {args.images} images were segmented")
    print(markdown(["images", "resident MB"], rows(memory, peak)))
    growth = grown(memory, peak)
    print(f"\ngrown by {growth:.1f} MB since image {min(WARM, len(memory) // 2)}")
    if growth > args.allowed:
        sys.exit(1)


def write_images(folder: Path, count: int) -> Path:
    """Noise with a few discs, each image another."""
    import cv2
    import numpy as np

    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        image = rng.normal(128, 4, (96, 128)).clip(0, 255).astype(np.uint8)
        for x, y in rng.integers(12, 84, (5, 2)).tolist():
            cv2.circle(image, (x, y), 9, 200, -1)
        cv2.imwrite(str(folder / f"{number:06}.png"), image)
    return folder


def write_model(path: Path) -> Path:
    """A checkpoint that answers with twenty boxes."""
    quiet_libraries()
    from untrained import write_untrained

    logging.getLogger("mmcv").setLevel(logging.WARNING)  # it lists how every parameter starts
    return write_untrained(path)


def watch(command: Sequence[str]) -> tuple[list[float], float]:
    """Run a script that prints a line with an arrow for each image.

    Returns:
        Resident megabytes after each image, and the largest until its last line.

    Raises:
        InputError: it fails.
    """
    memory, peak = [], 0.0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=unbuffered())
    assert process.stdout
    for line in process.stdout:
        now, most = _resident(process.pid)
        peak = max(peak, most)
        if " -> " in line:
            memory.append(now)
    if process.wait():
        raise InputError("infer_cis.py failed, see above")
    return memory, peak


def unbuffered() -> dict[str, str]:
    """Environment of a script whose lines come when they are printed."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _resident(pid: int) -> tuple[float, float]:
    """Megabytes of a process now and at most; zeros when it has ended.

    What wait4 says would be no less than this process had when it started the other one.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    sizes = dict(line.split(":", 1) for line in status.splitlines())
    now, most = (int(sizes.get(name, "0 kB").split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def rows(memory: Sequence[float], peak: float) -> list[list[str]]:
    """Memory after 1, 2, 5, 10 ... images, after all, and at most."""
    steps = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    chosen = [step for step in steps if step < len(memory)] + [len(memory)]
    table = [[str(step), f"{memory[step - 1]:.0f}"] for step in chosen]
    return [*table, ["largest", f"{peak:.0f}"]]


def grown(memory: Sequence[float], peak: float) -> float:
    """Megabytes by which the peak is above what was there at most in the first hundred images."""
    return peak - max(memory[: min(WARM, len(memory) // 2)])


if __name__ == "__main__":
    run_script(main, parse_args())
