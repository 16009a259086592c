"""Measuring time and memory of a function, and how fast the machine is at best."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import wraps
from multiprocessing import get_context
from typing import TypeVar

import numpy as np

from utils.stages import StageTimer

Result = TypeVar("Result")


def median_seconds(
    function: Callable,
    repeats: int,
    *arguments: object,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Median over several calls, of processor time: other programs change it little.

    `clock=time.perf_counter` measures wall time, for what runs on several cores.
    """
    seconds = []
    for _ in range(repeats):
        start = clock()
        function(*arguments)
        seconds.append(clock() - start)
    return float(np.median(seconds))


def peak_megabytes(function: Callable, *arguments: object) -> float:
    """Memory above what was there before, as NumPy's and Python's allocators see it."""
    tracemalloc.start()
    function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def timed(timer: StageTimer, stage: str, function: Callable[..., Result]) -> Callable[..., Result]:
    """The same function, whose time is added to a stage."""

    @wraps(function)
    def wrapped(*args, **kwargs):
        with timer.stage(stage):
            return function(*args, **kwargs)

    return wrapped


def median_stages(timers: Sequence[StageTimer]) -> dict[str, float]:
    """Median seconds of each stage over several runs of the same stages."""
    names = timers[0].seconds
    return {name: float(np.median([timer.seconds[name] for timer in timers])) for name in names}


def in_own_process(function: Callable[..., Result], *arguments: object) -> Result | None:
    """Call a function in a fresh Python process, whose peak memory is then the function's own.

    The system counts what the calling process had in memory into the new one's peak: import no
    large libraries there.

    Returns:
        None when the process was killed, as the system does when memory runs out.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            return None


def machine_peak(threads: int | None, repeats: int) -> dict:
    """The machine, and GFLOP/s of its best matrix product in each precision (wall time)."""
    import torch

    from utils.device import use_threads

    use_threads(threads)
    peaks = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates = []
        for side in (1024, 2048, 4096):
            one, two = (torch.rand(side, side).to(dtype) for _ in range(2))
            torch.mm(one, two)  # the first call chooses a kernel
            seconds = median_seconds(torch.mm, repeats, one, two, clock=time.perf_counter)
            rates.append(2 * side**3 / seconds / 1e9)
        peaks[name] = max(rates)
    return {
        "torch": str(torch.__version__),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul_gflops": peaks,
    }
