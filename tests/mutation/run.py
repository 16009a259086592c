"""Change the source at random, one small thing at a time, and count what the tests notice.

    python tests/mutation/run.py --package cells --mutants 100
    python tests/mutation/run.py --package network --only merging.py seams.py --seed 5

The tests are those in tests/<package>, or of --tests, without the heavy ones and those that take
longer than --slowest seconds of processor time. They run once to see which lines each of them
executes; each mutant is then tried against those that execute its line, the quickest first, in a
fork of this process. Mutants in lines that no test executes have survived. Nothing is written to
the checkout. mutants.py says what is changed; equivalents.json lists mutants that do the same as
the original, each with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of the threads that its parent had
os.environ["CUDA_VISIBLE_DEVICES"] = ""
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from mutation.copies import ROOT, Traced, trace_tests, try_mutant
from mutation.mutants import Mutant, find_mutants, mutated
from mutation.trace import file_of

OUTCOMES = ("killed", "timed out", "survived", "not executed", "equivalent")
EQUIVALENTS = Path(__file__).with_name("equivalents.json")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--package", nargs="+", default=["cells"], help="folders of src/ (default: cells)")
    add("--only", nargs="+", help="files of the package (default: all)")
    add("--tests", nargs="+", help="files or folders (default: tests/<package>)")
    add("--mutants", type=int, default=100, help="of each package (default: %(default)s; 0: all)")
    add("--seed", type=int, default=0)
    add("--slowest", type=float, default=3, help="seconds of a test that is used")
    add("--budget", type=float, default=10, help="seconds of all tests of a mutant")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    load_libraries(["torch", "cv2", "network.operators"])
    table = {}
    for package in args.package:
        with tempfile.TemporaryDirectory(prefix="mutation-") as work:
            table[package] = try_package(args, package, Path(work))
    print(markdown(table))
    return 0


def try_package(args: argparse.Namespace, package: str, work: Path) -> Counter:
    """Outcomes of a sample of a package's mutants; survivors are printed."""
    files = sorted((ROOT / "src" / package).rglob("*.py"))
    files = [file for file in files if not args.only or file.name in args.only]
    tests = [ROOT / path for path in args.tests or [Path("tests", package)]]
    traced = trace_tests(tests, files, work)
    load_libraries(traced.modules)
    candidates = [(file, mutant) for file in files for mutant in find_mutants(file.read_text())]
    count = min(args.mutants or len(candidates), len(candidates))
    chosen = sorted(
        random.Random(args.seed).sample(range(len(candidates)), count),
    )
    print(f"{package}: {count} of {len(candidates)} mutants", flush=True)
    known = json.loads(EQUIVALENTS.read_text())
    counts: Counter = Counter()
    for index in chosen:
        file, mutant = candidates[index]
        outcome = judge(file, mutant, traced, known, args, work)
        counts[outcome] += 1
        if outcome not in ("killed", "equivalent"):
            place = f"{file.relative_to(ROOT)}:{mutant.line}"
            print(f"{place}: {mutant.change} ({outcome})", flush=True)
    return counts


def judge(
    file: Path,
    mutant: Mutant,
    traced: Traced,
    known: list[dict[str, str]],
    args: argparse.Namespace,
    work: Path,
) -> str:
    """One of OUTCOMES."""
    source = file.read_text()
    text = source.splitlines()[mutant.line - 1].strip()
    key = {"file": str(file.relative_to(ROOT)), "line": text, "change": mutant.change}
    if any(key.items() <= entry.items() for entry in known):
        return "equivalent"
    tests = choose_tests(file, mutant, traced, args.slowest, args.budget)
    if not tests:
        return "not executed"
    seconds = 8 + 3 * sum(traced.seconds[name] for name in tests)
    return try_mutant(file, compile(mutated(source, mutant), file, "exec"), tests, seconds, work)


def choose_tests(
    file: Path, mutant: Mutant, traced: Traced, slowest: float, budget: float
) -> list[str]:
    """Ids of the tests that execute a mutant, the quickest first, until the budget is spent.

    A constant of a module is noticed by tests that execute no line of it, too: those beside them.
    """
    first, last = mutant.lines or (0, sys.maxsize)
    names = {
        name
        for name, lines in traced.lines.items()
        if any(path == str(file) and first <= line <= last for path, line in lines)
    }
    if mutant.lines is None:
        beside = {file_of(name) for name in names}
        names = {name for name in traced.lines if file_of(name) in beside}
    names = {name for name in names if traced.seconds[name] <= slowest}
    chosen = []
    for name in sorted(names, key=traced.seconds.__getitem__):
        budget -= traced.seconds[name]
        if budget < 0 and chosen:
            break
        chosen.append(name)
    return chosen


def load_libraries(names: list[str]) -> None:
    """Import modules of other projects, so that the forks have them."""
    warnings.simplefilter("ignore")
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):  # some can be imported by their own package only
                importlib.import_module(name)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)


def markdown(table: dict[str, Counter]) -> str:
    """Outcomes by package; the share leaves out mutants that are no change."""
    lines = [f"| package | mutants | {' | '.join(OUTCOMES)} | noticed |", "|---" * 8 + "|"]
    for package, counts in table.items():
        judged = counts.total() - counts["equivalent"]
        noticed = (counts["killed"] + counts["timed out"]) / max(1, judged)
        cells = [package, str(counts.total()), *(str(counts[name]) for name in OUTCOMES)]
        lines.append(f"| {' | '.join(cells)} | {noticed:.0%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(parse_args()))
