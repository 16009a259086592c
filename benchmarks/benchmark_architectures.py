"""Whether each architecture learns: a few hundred iterations on small images, then all together.

    python benchmarks/benchmark_architectures.py
    python benchmarks/benchmark_architectures.py --configs tests/configs/tiny_swin.py

Trains the tests' tiny variant of each model of the solution, from random weights, through
`train_cis.py`, on the tests' images of discs, boxes and bars. Prints the loss at the beginning and
end, the competition's mAP on other such images and the seconds of an iteration as a Markdown table,
and the mAP of the ensemble of all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from tables import markdown

from utils.options import at_least, script_parser
from utils.script import run_script

ROOT = Path(__file__).resolve().parents[1]
TINY = ("tiny_resnest", "tiny_point_rend", "tiny_swin", "tiny_gcnet", "tiny_published")


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    tiny = [str(ROOT / "tests" / "configs" / f"{name}.py") for name in TINY]
    add("--configs", nargs="+", default=tiny, help="default: the tests' tiny variants")
    add("--iterations", type=at_least(1), default=400, help="of two images (default: 400)")
    add("--n_train", type=at_least(1), default=16, help="images (default: 16)")
    add("--n_valid", type=at_least(1), default=6, help="images (default: 6)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from helpers import write_shapes

    rows, weights = [], []
    with tempfile.TemporaryDirectory() as folder:
        data = write_shapes(Path(folder) / "data", args.n_train, args.n_valid)
        for config in map(Path, args.configs):
            out_dir = Path(folder) / config.stem
            train(config, data, out_dir, args.iterations)
            rows.append((config.stem, *learned(out_dir)))
            weights.append(str(out_dir / "latest.pth"))
            print(f"{config.stem}: mAP {rows[-1][3]}", flush=True)
        print("\n" + markdown(("", "first loss", "last loss", "mAP", "s / iteration"), rows))
        print(f"ensemble of all: mAP {ensemble_map(weights, data, Path(folder)):.3f}")


def train(config: Path, data: Path, out_dir: Path, iterations: int) -> None:
    """Run `train_cis.py` from random weights."""
    run(
        "train_cis.py",
        *("--config", config, "--out_dir", out_dir, *data_options(data)),
        *("--max_iters", iterations, "--eval_interval", iterations),
        *("--batch_size", 2, "--workers", 1, "--precision", "fp32", "--from_scratch"),
        *("--cfg-options", f"log_interval={max(1, iterations // 20)}"),
    )


def learned(out_dir: Path) -> tuple[str, str, str, str]:
    """First and last loss, mAP, and median seconds of an iteration, out of a training's log."""
    lines = (out_dir / "train.log.json").read_text(encoding="utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    losses = [row["loss"] for row in log if "loss" in row]
    seconds = statistics.median(row["time"] for row in log if "loss" in row)
    score = [row["mAP"] for row in log if "mAP" in row][-1]
    return f"{losses[0]:.2f}", f"{losses[-1]:.2f}", f"{score:.3f}", f"{seconds:.2f}"


def ensemble_map(weights: list[str], data: Path, folder: Path) -> float:
    """Competition mAP of all models together."""
    out_dir = folder / "evaluation"
    run(
        "evaluate_ensemble.py",
        *(*data_options(data), "--weights", *weights, "--out_dir", out_dir),
        *("--precision", "fp32", "--no_2nd_level"),
    )
    report = json.loads((out_dir / "evaluation.json").read_text(encoding="utf-8"))
    return report["tables"]["competition metric"]["all"]["mAP"]


def data_options(data: Path) -> tuple[object, ...]:
    return ("--image_dir", data / "images", "--annotation_dir", data / "annotations")


def run(script: str, *options: object) -> None:
    """Run a script of `src/`, whose output is not shown.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    command = [sys.executable, str(ROOT / "src" / script), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    run_script(main, parse_args())
