"""Running tests in a copy of this process, with one module changed."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from fuzzing.harness import run_copy
from mutation.trace import Chosen, LineTracer

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
MORE_MEMORY = 3 * 2**30  # bytes that a copy may take beside what this process has


@dataclass(frozen=True)
class Traced:
    """What the tests do with the unchanged modules.

    Attributes:
        lines: of each test that passes, the (file, line) that it executes.
        seconds: of processor time that each takes.
        modules: of other projects, which the tests import, in order.
    """

    lines: dict[str, set[tuple[str, int]]]
    seconds: dict[str, float]
    modules: list[str]


class ChangedModule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of src/ another code when it is imported; no file is written."""

    def __init__(self, path: Path, code: CodeType) -> None:
        self._name = ".".join(path.relative_to(SRC).with_suffix("").parts)
        self._path, self._code = path, code

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def trace_tests(paths: Sequence[Path], files: Sequence[Path], work: Path) -> Traced:
    """Run all tests of some files or folders once, in a copy.

    Args:
        paths: of the tests.
        files: of src/ whose lines matter.
        work: folder for temporary files.

    Raises:
        RuntimeError: none of them passes.
    """
    answer = work / "trace.json"

    def action() -> int:
        tracer = LineTracer(list(map(str, files)))
        _pytest([str(path) for path in paths], [tracer], work)
        ours = str(ROOT)
        modules = [
            name
            for name, module in list(sys.modules.items())
            if getattr(module, "__file__", None) and not module.__file__.startswith(ours)
        ]
        lines = {name: sorted(found) for name, found in tracer.all_lines().items()}
        answer.write_text(json.dumps([lines, tracer.seconds, modules]))
        return 0

    outcome = run_copy(action, work / "trace.txt", cpu_seconds=1200)
    if outcome.code or not answer.is_file():
        raise RuntimeError(f"the tests could not be run: {outcome.stderr[-2000:]}")
    lines, seconds, modules = json.loads(answer.read_text())
    if not lines:
        raise RuntimeError(f"no test of {', '.join(map(str, paths))} passes")
    return Traced({name: set(map(tuple, x)) for name, x in lines.items()}, seconds, modules)


def try_mutant(path: Path, code: CodeType, tests: Sequence[str], seconds: float, work: Path) -> str:
    """Whether tests notice that a module was changed.

    Args:
        path: of the module.
        code: that it has instead.
        tests: ids, in the order in which they run; the first failure ends it.
        seconds: of processor time that they may take; sixty times that on the clock, since only
            a mutant that waits for ever needs it, and a busy machine makes all others slow.
        work: folder for temporary files.

    Returns:
        "killed", "timed out" or "survived".

    Raises:
        RuntimeError: none of the tests was found.
    """

    def action() -> int:
        sys.meta_path.insert(0, ChangedModule(path, code))
        _limit_memory()
        files = dict.fromkeys(str(ROOT / name.split("::")[0]) for name in tests)
        return _pytest(["-x", *files], [Chosen(tests)], work)

    outcome = run_copy(action, work / "stderr.txt", 60 * seconds, cpu_seconds=int(seconds) + 1)
    if outcome.code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise RuntimeError(f"none of these tests was found: {', '.join(tests)}")
    if outcome.code in (-9, -24):  # SIGKILL after the wall time, SIGXCPU after the processor's
        return "timed out"
    return "killed" if outcome.code else "survived"


def _limit_memory() -> None:
    """A changed bound may ask for all memory; then this copy fails and nothing else."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _pytest(arguments: Sequence[str], plugins: Sequence[object], work: Path) -> int:
    os.chdir(ROOT)
    temporary = work / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    options = ["-m", "not heavy", "-p", "no:cacheprovider", f"--basetemp={temporary}"]
    return int(pytest.main([*options, *arguments], plugins=list(plugins)))
