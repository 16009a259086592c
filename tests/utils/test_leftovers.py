"""What killed processes leave behind."""

from __future__ import annotations

import subprocess
import sys

from helpers import ROOT

from utils.files import remove_leftovers

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from utils.files import atomic_path
with atomic_path(sys.argv[2]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_temporary_files_of_killed_processes_go(tmp_path):
    path = tmp_path / "a [1].png"
    for name in (path.name, "a-b.png", "a.json"):
        subprocess.run([sys.executable, "-c", KILLED, ROOT / "src", tmp_path / name], check=False)
    (tmp_path / ".a-note.png").touch()
    path.touch()
    assert len(list(tmp_path.iterdir())) == 5
    remove_leftovers([path, tmp_path / "a.png", tmp_path / "nowhere" / "a.png"])
    left = {file.name for file in tmp_path.iterdir()}
    assert path.name in left and ".a-note.png" in left and len(left) == 4
    assert sum(name.startswith(".a-b-") for name in left) == 1
    assert sum(name.endswith(".json") for name in left) == 1
