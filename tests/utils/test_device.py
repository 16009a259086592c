"""Memory that the allocator keeps, and gives back."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers import ROOT

# blocks that come and go beside small ones that stay
SCRIPT = """
import sys
sys.path.insert(0, "src")
from utils.device import give_back_memory, keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

keep_freed_memory()
stays, goes = [], []
for _ in range(20):
    goes.append(bytearray(b"x") * (10 * 2**20))
    stays.append(bytearray(b"x") * 2000)
full = resident()
goes.clear()
kept = resident()
give_back_memory()
print(full - kept, kept - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_freed_blocks_are_kept_until_they_are_given_back():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    at_once, given_back = map(float, done.stdout.split())
    assert at_once < 20
    assert given_back > 150
