"""What benchmark_memory.py says of programs whose memory is known."""

from __future__ import annotations

import sys

import pytest
from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from benchmark_memory import MB, grown, rows, watch

from utils.script import InputError

LEAKING = """
import sys, time
kept = []
for number in range(20):
    kept.append(b"x" * int(sys.argv[1]))
    print(f"{number}.png -> out", flush=True)
    time.sleep(0.05)
print("done")
"""


def test_what_grows_with_the_images_is_seen():
    found = {}
    for size in (10, 8 * MB):
        memory, peak = watch([sys.executable, "-c", LEAKING, str(size)])
        assert len(memory) == 20
        found[size] = grown(memory, peak)
    assert found[10] < 20
    assert 60 < found[8 * MB] < 100  # ten images after the first half


def test_a_run_that_fails_is_no_measurement():
    with pytest.raises(InputError, match="failed"):
        watch([sys.executable, "-c", "raise SystemExit(2)"])


def test_rows_of_the_table():
    memory = [100.0 + number for number in range(12)]
    names = [name for name, _ in rows(memory, 115)]
    assert names == ["1", "2", "5", "10", "12", "largest"]
    assert rows(memory, 115)[-2:] == [["12", "111"], ["largest", "115"]]
    assert grown(memory, 115) == 115 - 105
