"""Running a script on a damaged file in a copy of this process, and judging what it did."""

from __future__ import annotations

import faulthandler
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECONDS = 120  # of processor time that one input may take


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        code: exit code; negative: the signal that ended it.
        stderr: all of it.
        seconds: wall time.
    """

    code: int
    stderr: str
    seconds: float


def run_copy(
    action: Callable[[], int | None],
    log: Path,
    kill_after: float | None = None,
    cpu_seconds: int = SECONDS,
    stdout: Path = Path(os.devnull),
) -> Outcome:
    """Run `action` in a fork of this process, which has loaded all libraries already.

    Args:
        action: what to run; what it returns, or leaves with, is the exit code.
        log: gets its stderr.
        kill_after: seconds after which it is killed, unless it has ended.
        cpu_seconds: of processor time after which it is killed.
        stdout: gets its stdout.
    """
    start = time.perf_counter()
    child = os.fork()
    if not child:
        _act(action, log, stdout, cpu_seconds)  # does not return
    status = _wait(child, kill_after)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Outcome(code, text, time.perf_counter() - start)


def _wait(child: int, kill_after: float | None) -> int:
    """Status of a process that has ended; it is killed when its time is over."""
    if kill_after is not None:
        end = time.perf_counter() + kill_after
        while time.perf_counter() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _act(action: Callable[[], int | None], log: Path, stdout: Path, cpu_seconds: int) -> None:
    code: object = 70
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number, path in ((0, Path(os.devnull)), (1, stdout), (2, log)):
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY if number else os.O_RDONLY
            os.dup2(os.open(path, flags, 0o666), number)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        code = action()
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def script(path: Path, arguments: list[str]) -> Callable[[], None]:
    """An action: the script as `python path arguments` runs it, but for loading its libraries."""

    def action() -> None:
        sys.argv = [str(path), *arguments]
        runpy.run_path(str(path), run_name="__main__")

    return action


def complaint(outcome: Outcome, out: Path) -> str | None:
    """What is wrong with a run, or None: it has to succeed, or to say in one line why not."""
    if outcome.code < 0:
        return f"ended by {signal.Signals(-outcome.code).name}"
    if "Traceback (most recent call last)" in outcome.stderr:
        return "a traceback"
    if outcome.code not in (0, 2):
        return f"exit code {outcome.code}"
    lines = outcome.stderr.strip().splitlines()
    if outcome.code == 2 and not (lines and lines[-1].startswith("error: ")):
        return "no line that begins with 'error: ' at the end"
    left = [path for path in out.rglob("*") if path.is_file() and path.name.startswith(".")]
    if left:
        return f"left half-written: {', '.join(path.name for path in left)}"
    return None
