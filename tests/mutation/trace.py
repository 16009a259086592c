"""Plugins of pytest: which test executes which lines; and running some tests in a given order."""

from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict
from collections.abc import Collection, Sequence
from types import FrameType

import pytest


class LineTracer:
    """Notes the lines of some files that each test executes, and how long it takes.

    Attributes:
        lines: of each passed test, by its id, the (file, line) that were executed.
        seconds: of processor time that it took, its fixtures and programs that it runs with it.
        failed: ids of tests that do not pass.
    """

    def __init__(self, files: Collection[str]) -> None:
        self._files = set(files)
        self._now: set[tuple[str, int]] = set()
        self._of_file: dict[str, set] = defaultdict(set)
        self.lines: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item):
        """What a fixture does may serve all tests of the file."""
        yield from self._traced(item, self._of_file[file_of(item.nodeid)])

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item):
        yield from self._traced(item, self.lines[item.nodeid])

    def _traced(self, item: pytest.Item, into: set):
        self._now = into
        start = _processor_seconds()
        before = sys.gettrace()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        yield
        sys.settrace(before)
        threading.settrace(None)
        self.seconds[item.nodeid] += _processor_seconds() - start

    def _enter(self, frame: FrameType, event: str, argument: object):
        return self._step if frame.f_code.co_filename in self._files else None

    def _step(self, frame: FrameType, event: str, argument: object):
        if event == "line":
            self._now.add((frame.f_code.co_filename, frame.f_lineno))
        return self._step

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self.failed.add(report.nodeid)

    def all_lines(self) -> dict[str, set[tuple[str, int]]]:
        """`lines` of passed tests, with what fixtures of their files executed."""
        return {
            name: lines | self._of_file[file_of(name)]
            for name, lines in self.lines.items()
            if name not in self.failed
        }


class Chosen:
    """Runs these tests only, in this order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._place = {name: place for place, name in enumerate(names)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._place]
        items[:] = sorted(chosen, key=lambda item: self._place[item.nodeid])


def file_of(name: str) -> str:
    """Path of the file that a test is in."""
    return name.split("::")[0]


def _processor_seconds() -> float:
    """Of this process and of those that it has started and waited for."""
    return sum(os.times()[:4])
