"""Scripts that are killed go on to the same result; see kills.py for a longer run by hand."""

from __future__ import annotations

import os
import subprocess
import sys

from helpers import ROOT

KILLS = os.environ.get("KILLS", "2")


def test_killed_scripts_go_on_to_the_same_result(tmp_path):
    """KILLS=20 kills each job more often."""
    command = [sys.executable, str(ROOT / "tests/fuzzing/kills.py"), "--kills", KILLS]
    done = subprocess.run(
        [*command, "--work", str(tmp_path / "work")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if "the same in the end" in line]
    assert len(lines) == 5
    assert all(f" {KILLS} kills in" in line for line in lines)
