"""Damaged files of every kind, for every script; see run.py for a longer run by hand."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from fuzzing.harness import complaint, run_copy
from fuzzing.mutations import damage_bytes, damage_json
from helpers import ROOT

INPUTS = int(os.environ.get("FUZZ_INPUTS", "60"))


def test_no_damaged_file_ends_badly(tmp_path):
    """FUZZ_INPUTS=2000 looks longer; a failure says which input, and keeps it in its folder."""
    command = [sys.executable, str(ROOT / "tests/fuzzing/run.py"), "--inputs", str(INPUTS)]
    done = subprocess.run(
        [*command, "--work", str(tmp_path / "work")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    total = [line for line in done.stdout.splitlines() if line.startswith("all ")][0].split()
    assert int(total[1]) >= INPUTS
    assert int(total[2]) > 10  # accepted
    assert int(total[3]) > INPUTS / 4  # refused


def test_the_harness_sees_what_goes_wrong(tmp_path):
    def judged(action) -> str | None:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        return complaint(run_copy(action, tmp_path / "stderr.txt"), out)

    def refuse(line: str, code: int = 2):
        def action():
            print(line, file=sys.stderr)
            raise SystemExit(code)

        return action

    assert judged(lambda: None) is None
    assert judged(refuse("error: x.png: no image; give one")) is None
    assert judged(refuse("something else")) is not None
    assert judged(refuse("error: x.png", code=1)) == "exit code 1"
    assert judged(lambda: 1 / 0) == "a traceback"
    assert judged(lambda: os.abort()) == "ended by SIGABRT"
    assert judged(lambda: (tmp_path / "out/.x-123").touch()).startswith("left half-written")


def test_the_same_seed_damages_alike():
    content = b'{"a": [1, 2, {"b": null}], "c": "text"}'
    for damage in (damage_bytes, damage_json):
        made = [damage(content, random.Random(seed)) for seed in range(50)]
        assert made == [damage(content, random.Random(seed)) for seed in range(50)]
        assert len(set(made)) > 25
        assert sum(other != content for other in made) > 40
