"""Every script on a disk without room; see full_disk.py."""

from __future__ import annotations

import subprocess
import sys

from helpers import ROOT


def test_scripts_without_room_say_so_and_leave_earlier_outputs():
    command = [sys.executable, str(ROOT / "tests/fuzzing/full_disk.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if ".py " in line and "error: " in line]
    assert len(lines) == 6  # one for each script
