"""What the computation runs on: device, precision, cores, memory, seeds, and the processes of a
distributed run."""

from __future__ import annotations

import ctypes
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from utils.script import InputError

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def resolve_device(name: str) -> torch.device:
    """Turn `--device` (auto, cpu, cuda, cuda:N) into a torch device.

    Raises:
        InputError: the device was asked for by name and is not there; there is no silent fallback.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name}: unknown; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device {name}: {torch.cuda.device_count()} CUDA devices are here; use --device cpu"
        )
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn `--precision` into the dtype that the networks compute in.

    `auto` is bfloat16 where the hardware multiplies it natively (AVX512-BF16/AMX CPUs, CUDA compute
    capability 8 and later), else float32.

    Raises:
        InputError: float16 on a CPU, which has no fast or complete support for it.
    """
    import torch

    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            native = torch.cpu.get_capabilities().get("avx512_bf16", False)
        return torch.bfloat16 if native else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise InputError("--precision fp16: needs a GPU; use --precision bf16 or fp32 on a CPU")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def use_threads(count: int | None) -> None:
    """Let torch and OpenCV compute on `count` cores; None leaves it to them, which is all cores."""
    import cv2
    import torch

    if count is not None:
        torch.set_num_threads(count)
        cv2.setNumThreads(count)


def keep_freed_memory() -> None:
    """Let the allocator keep large freed blocks for the next ones, where it is glibc's.

    It gives blocks over 32 MB back to the system at once otherwise, and a new one costs 0.3 s a GB
    until its pages are there: a tenth of the time of an inference.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Give freed memory back to the system, what lies between blocks in use as well, as glibc can.

    While small results are kept between large blocks that come and go, the holes add up.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def seed_everything(*entropy: int) -> None:
    """Seed Python, NumPy and torch from integers (for example seed, rank, iteration)."""
    import numpy as np
    import torch

    # SeedSequence mixes its entropy well, so that neighbouring iterations are not correlated.
    state = np.random.SeedSequence(entropy).generate_state(2)
    random.seed(int(state[0]))
    np.random.seed(state)
    torch.manual_seed(int(state[1]))


def join_processes(device: torch.device) -> tuple[torch.device, int, int]:
    """Under torchrun join the other processes, each with a GPU of its own.

    Returns:
        This process's device, its rank and the number of processes.
    """
    if "WORLD_SIZE" not in os.environ:
        return device, 0, 1
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # at the end of a run, the others wait for the process whose images take longest
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(hours=6))
    return device, dist.get_rank(), dist.get_world_size()


def wait_for_processes() -> None:
    """Wait until all processes of `join_processes` have come here; for one process at once."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def leave_processes() -> None:
    """Undo `join_processes`; does nothing where there is one process only."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
