"""Errors for the user: in one line, long lists shortened."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest
from helpers import ROOT

from utils.script import InputError, one_line, quiet_libraries, report_problems, run_script


def test_an_input_error_is_reported_with_its_details(capsys):
    def main(_: argparse.Namespace) -> None:
        raise InputError("a.json: 60\nproblems", [f"problem {i}" for i in range(60)])

    with pytest.raises(SystemExit) as left:
        run_script(main, argparse.Namespace())
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["problem 0", "problem 1"]
    assert lines[-2:] == ["... and 10 more", "error: a.json: 60 problems"]
    assert len(lines) == 52


def test_invalid_records_are_left_out_or_refused(capsys):
    report_problems("a.json", [], skip_invalid=False)
    with pytest.raises(InputError, match="a.json: 2 invalid row") as caught:
        report_problems("a.json", ["one", "two"], False, "row")
    assert caught.value.details == ["one", "two"]
    report_problems("a.json", ["one"], skip_invalid=True)
    assert capsys.readouterr().out.splitlines() == ["one", "a.json: 1 invalid record(s) left out"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.png: damaged"), "a.png: damaged"),
        (InputError("no pixels"), "a.png: no pixels"),
        (ValueError("two\nlines"), "a.png: ValueError: two lines; -v shows more"),
    ],
)
def test_why_a_file_failed(error, line):
    assert one_line(error, "a.png", "; -v shows more") == line


@pytest.mark.parametrize("leave_at_once", [False, True])
def test_a_reader_that_has_seen_enough_is_no_error(leave_at_once):
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from utils.script import run_script\n"
        "def main(_):\n"
        "    while True:\n"
        "        print('line', flush=True)\n"
        f"run_script(main, None, leave_at_once={leave_at_once})\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_user_without_a_home(monkeypatch):
    def nowhere() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", nowhere)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    quiet_libraries()
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
