"""What every script shares: errors for the user, atomic outputs, device, precision and seeds.

Heavy imports stay inside functions, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


# Where `--compile` keeps its results; where torch would, they are gone after a restart. torchvision
# fixes the folder when it is imported.
os.environ.setdefault(
    "TORCHINDUCTOR_CACHE_DIR", str(Path.home() / ".cache" / "cell_instance_segmentation")
)


class InputError(Exception):
    """Bad input from the user.

    Args:
        message: one line that names the file or flag and the remedy.
        details: the single problems, where a report lists several; printed above the message.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(" ".join(message.split()))
        self.details = list(details)


def run_script(
    main: Callable[[argparse.Namespace], int | None],
    args: argparse.Namespace,
    leave_at_once: bool = False,
) -> NoReturn:
    """Run `main(args)` and exit with what it returns (None is 0), or with 2 for an `InputError`.

    Args:
        main: the script.
        args: its options.
        leave_at_once: end the process without taking down what it loaded, which takes a second;
            for scripts that leave nothing to be flushed or joined but their own output.
    """
    try:
        code = main(args) or 0
    except InputError as error:
        for line in (*error.details, f"error: {error}"):
            print(line, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    if leave_at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it to `path` on success only.

    The folder is created. On an exception the temporary file is removed and `path` stays as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; an output gets the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def quiet_libraries() -> None:
    """Hide what the pinned libraries print at import and no user can act on; call before them."""
    warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


@contextmanager
def quick_start() -> Iterator[None]:
    """Import libraries and load models without garbage collection, which takes a second of it.

    What was loaded stays to the end anyway; later collections do not look at it again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


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
            native = torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if native else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise InputError("--precision fp16: needs a GPU; use --precision bf16 or fp32 on a CPU")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def keep_freed_memory() -> None:
    """Let the allocator keep large freed blocks for the next ones, where it is glibc's.

    It gives blocks over 32 MB back to the system at once otherwise, and a new one costs 0.3 s a GB
    until its pages are there: a tenth of the time of an inference.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def use_threads(count: int | None) -> None:
    """Let torch and OpenCV compute on `count` cores; None leaves it to them, which is all cores."""
    import cv2
    import torch

    if count is not None:
        torch.set_num_threads(count)
        cv2.setNumThreads(count)


def seed_everything(*entropy: int) -> None:
    """Seed Python, NumPy and torch from integers (for example seed, rank, iteration)."""
    import numpy as np
    import torch

    # SeedSequence mixes its entropy well, so that neighbouring iterations are not correlated.
    state = np.random.SeedSequence(entropy).generate_state(2)
    random.seed(int(state[0]))
    np.random.seed(state)
    torch.manual_seed(int(state[1]))


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MB of 2**20 bytes (Linux, macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


class StageTimer:
    """Adds up the wall time of named stages.

    Example:
        >>> timer = StageTimer()
        >>> with timer.stage("read"):
        ...     pass
        >>> sorted(timer.seconds)
        ['read']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the enclosed block under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
