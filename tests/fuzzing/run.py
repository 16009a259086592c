"""Damage valid files at random, run the scripts on them, and report what goes wrong.

    python tests/fuzzing/run.py --inputs 2000
    python tests/fuzzing/run.py --inputs 200 --only publish --seed 5

A run is fine when it succeeds, or ends with exit code 2 and one line that says why. No input may
end it with a traceback or a signal, take more than two minutes of processor time, leave something
half-written, or change a file that was only to be read. Exit code 1 says that some did; those
inputs are kept in --work.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of the threads that its parent had
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parents[2] / "src")]


LIBRARIES = (
    "cells.exports.writers evaluation.job evaluation.pictures network.ensemble "
    "published.detectron2 published.contents second_level.fitting second_level.report "
    "simulation.dataset training.pseudo_labels training.runner"
).split()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--inputs", type=int, default=200, help="damaged files (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--first", type=int, default=0, help="number of the first input, to see it again")
    add("--only", default="", help="only targets whose name holds this")
    add("--seconds", type=float, help="stop after so long")
    add("--work", help="folder to work in (default: a temporary one)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    import_libraries()
    from fuzzing.sources import write_sources
    from fuzzing.targets import TARGETS

    from utils.files import sha256

    work = Path(args.work or tempfile.mkdtemp(prefix="fuzzing-"))
    sources = write_sources(work / "sources")
    before = {path: sha256(path) for path in sources.rglob("*") if path.is_file()}
    targets = [target for target in TARGETS if args.only in target.name]
    turns = [target for target in targets for _ in range(target.often)]
    random.Random(args.seed).shuffle(turns)
    counts: dict[str, Counter] = defaultdict(Counter)
    seconds: Counter = Counter()
    start = time.perf_counter()
    cases = [(target, None, target.name) for target in targets]
    for number in range(args.first, args.first + args.inputs):
        rng = random.Random(f"{args.seed} {number}")
        cases.append((turns[number % len(turns)], rng, f"input {number}"))
    for target, rng, name in cases:
        if args.seconds and time.perf_counter() - start > args.seconds:
            break
        outcome, wrong = examine(target, rng, sources, work / name)
        kind = "wrong" if wrong else "refused" if outcome.code else "accepted"
        counts[target.name][kind] += 1
        seconds[target.name] += outcome.seconds
        if wrong:
            print(f"{name} ({target.name}): {wrong}; see {work / name}")
            last = outcome.stderr.strip().splitlines()[-6:]
            print(*last, sep="\n    ", flush=True)
        else:
            shutil.rmtree(work / name)
    print_table(counts, seconds, time.perf_counter() - start)
    changed = [path for path, hash in before.items() if not path.exists() or sha256(path) != hash]
    for path in changed:
        print(f"changed: {path}")
    failed = bool(changed) or any(count["wrong"] for count in counts.values())
    if not failed and not args.work:
        shutil.rmtree(work)
    return int(failed)


def import_libraries() -> None:
    """Load what all scripts need, once; the copies have it then."""
    from utils.script import quiet_libraries

    quiet_libraries()
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    logging.getLogger("mmcv").setLevel(logging.WARNING)
    for name in LIBRARIES:
        importlib.import_module(name)


def examine(target, rng: random.Random | None, sources: Path, case: Path):
    """Run one target on a damaged copy of its source, or on the source itself without `rng`.

    Returns:
        The outcome, and what is wrong with it or None.
    """
    from fuzzing.harness import complaint, run_copy

    out = case / "out"
    out.mkdir(parents=True)
    source = sources / target.source
    content = source.read_bytes()
    damaged = target.damage(content, rng) if rng else content
    if target.replaces:
        given = case / source.parent.name
        shutil.copytree(source.parent, given)
        path = given / source.name
    else:
        given = path = case / f"{source.stem}{source.suffix}"
    path.write_bytes(damaged)
    outcome = run_copy(target.action(sources, given, out), case / "stderr.txt")
    wrong = complaint(outcome, out)
    if not wrong and path.read_bytes() != damaged:
        wrong = "changed its input"
    if not wrong and not rng and outcome.code and target.valid:
        wrong = "refuses the undamaged file"
    return outcome, wrong


def print_table(counts: dict[str, Counter], seconds: Counter, elapsed: float) -> None:
    """Inputs by target and outcome."""
    print(f"{'target':24}{'inputs':>8}{'accepted':>10}{'refused':>9}{'wrong':>7}{'s each':>8}")
    total: Counter = Counter()
    for name, count in counts.items():
        total.update(count)
        line(name, count, seconds[name])
    line("all", total, sum(seconds.values()))
    print(f"{elapsed:.0f} s")


def line(name: str, count: Counter, seconds: float) -> None:
    inputs = sum(count.values())
    print(
        f"{name:24}{inputs:8}{count['accepted']:10}{count['refused']:9}{count['wrong']:7}"
        f"{seconds / max(1, inputs):8.2f}"
    )


if __name__ == "__main__":
    sys.exit(main(parse_args()))
