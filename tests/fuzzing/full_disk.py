"""Let scripts run out of room, and look at what they say and leave.

    python tests/fuzzing/full_disk.py

No file may become larger than a limit, which the system reports as it does a full disk. Every
script has to end with exit code 2 and one line, and to leave outputs of an earlier run as they are.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parents[2] / "src")]
os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of the threads that its parent had
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# each script's arguments, and the largest file in bytes: less than its largest output
JOBS = {
    "train_cis.py": ("DATA TRAINING --eval_interval 1 --overwrite", 200_000),
    "infer_cis.py": ("--image SOURCES/image.tif --weights SOURCES/model.pth --save labels", 3_000),
    "prepare_for_2nd_level_model.py": ("DATA --weights SOURCES/model.pth", 3_000),
    "train_2nd_level_catboost.py": ("DATA --data_dir SOURCES/pickles --iterations 3", 3_000),
    "simulate_cells.py": ("--n_train 1 --n_valid 1", 3_000),
    "make_pseudo_labels.py": (
        "--image_dir SOURCES/data/images/new.png --train_image_dir SOURCES/data/images "
        "--annotation_dir SOURCES/data/annotations --weights SOURCES/model.pth",
        3_000,
    ),
}
DATA = "--image_dir SOURCES/data/images --annotation_dir SOURCES/data/annotations"


def main() -> int:
    from fuzzing.harness import run_copy
    from fuzzing.run import import_libraries
    from fuzzing.sources import write_sources

    import_libraries()
    work = Path(tempfile.mkdtemp(prefix="full-disk-"))
    sources = write_sources(work / "sources")
    wrong = 0
    for name, (arguments, limit) in JOBS.items():
        out = work / name
        action = job(name, arguments, sources, out)
        first = run_copy(action, work / f"{name}.txt")
        before = contents(out)
        second = run_copy(limited(action, limit), work / f"{name}_full.txt")
        problem = judge(first, second, out, before)
        wrong += problem is not None
        print(f"{name:32} {problem or second.stderr.strip().splitlines()[-1]}", flush=True)
    return int(wrong > 0)


def job(name: str, arguments: str, sources: Path, out: Path) -> Callable[[], None]:
    """A script with its arguments filled in."""
    from fuzzing.harness import script
    from fuzzing.targets import TRAINING
    from helpers import ROOT

    words = f"{arguments} --out_dir {out}".replace("TRAINING", TRAINING).replace("DATA", DATA)
    return script(ROOT / "src" / name, words.replace("SOURCES", str(sources)).split())


def limited(action: Callable[[], object], limit: int) -> Callable[[], object]:
    """The same with a limit for every file."""

    def run() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return action()

    return run


def contents(folder: Path) -> dict[Path, bytes]:
    """All outputs but what a run says of itself, which is of the last run."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".png", ".tif", ".pkl", ".pth", ".csv", ".json")
        and path.name not in ("run.json", "summary.csv", "environment.json")
        and "records" not in path.parts
    }


def judge(first, second, out: Path, before: dict[Path, bytes]) -> str | None:
    """What is wrong, or None."""
    from fuzzing.harness import complaint

    if first.code:
        return f"fails with room: {first.stderr.strip().splitlines()[-1:]}"
    if second.code != 2:
        return f"exit code {second.code} without room"
    problem = complaint(second, out)
    if problem:
        return f"{problem}: {second.stderr.strip().splitlines()[-3:]}"
    after = contents(out)
    changed = [path.name for path, content in before.items() if after.get(path) != content]
    if out.name == "train_cis.py":  # --overwrite has removed the earlier run
        changed = []
    return f"damaged: {changed}" if changed else None


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    sys.exit(main())
