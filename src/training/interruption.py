"""Ctrl-C in a training: it ends after its present step and loses nothing."""

from __future__ import annotations

import os
import signal
import time

import torch
import torch.distributed as dist
from mmcv.runner import Hook, IterBasedRunner

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; what torchrun and batch systems send
SAME = 1.0  # seconds: torchrun passes on a Ctrl-C that its processes may have seen themselves
ANNOUNCEMENT = b"interrupted: ends after this step; once more to end at once\n"


class InterruptionHook(Hook):
    """Writes `latest.pth` after the step that was interrupted, and ends the training.

    A second signal ends it at once. Of several processes, all end after the same step, whichever
    of them the signal reaches.
    """

    def __init__(self) -> None:
        self.interrupted_at: float | None = None

    def before_run(self, runner: IterBasedRunner) -> None:
        self.replaced = {number: signal.signal(number, self._note) for number in SIGNALS}

    def after_run(self, runner: IterBasedRunner) -> None:
        for number, handler in self.replaced.items():
            signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        now = time.monotonic()
        if self.interrupted_at is None:
            self.interrupted_at = now
            os.write(2, ANNOUNCEMENT)  # a stream may be in the middle of a line of its own
        elif now - self.interrupted_at > SAME:
            raise KeyboardInterrupt

    def after_train_iter(self, runner: IterBasedRunner) -> None:
        """End the training if any process was interrupted.

        Raises:
            KeyboardInterrupt: one was.
        """
        ends = torch.tensor(self.interrupted_at is not None, device=runner.model.device).int()
        if dist.is_initialized():
            dist.all_reduce(ends, dist.ReduceOp.MAX)
        if not ends:
            return
        if runner.rank == 0:
            runner.save_checkpoint(runner.work_dir, "latest.pth", save_optimizer=True)
            step = runner.iter + 1
            runner.logger.info("interrupted after iteration %d; --resume auto goes on", step)
        self.after_run(runner)
        raise KeyboardInterrupt
