"""Trying what may crash in a copy of this process."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from collections.abc import Callable


def survives(attempt: Callable[[], object], seconds: int = 60) -> bool:
    """Whether `attempt` ends, by returning or with an exception, in a forked copy of this process.

    A library written in C++ can crash on a damaged file, which no `except` can catch. A fork costs
    milliseconds, a new interpreter with the library half a second. Where there is no fork, as on
    Windows, the answer is True.

    Args:
        attempt: must not use threads that this process has started: the copy has none of them.
        seconds: a copy that takes longer is ended, and has not survived.
    """
    if not hasattr(os, "fork"):
        return True
    child = os.fork()
    if not child:
        try:
            faulthandler.disable()  # a crash is an answer, not news
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            attempt()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)
