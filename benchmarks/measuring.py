"""Measuring time and memory of a function."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import numpy as np


def median_seconds(function: Callable, repeats: int, *arguments: object) -> float:
    """Processor time, which other programs on the machine change little."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function(*arguments)
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def peak_megabytes(function: Callable, *arguments: object) -> float:
    """Memory above what was there before, as NumPy's and Python's allocators see it."""
    tracemalloc.start()
    function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6
