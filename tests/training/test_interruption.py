"""Ctrl-C ends a training after its step, with a checkpoint; a second one at once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from helpers import CONFIGS, ROOT

from network.checkpoints import load_checkpoint
from training import interruption
from training.interruption import InterruptionHook


def interruptible(saved: list[str]) -> tuple[InterruptionHook, SimpleNamespace]:
    runner = SimpleNamespace(
        **dict(iter=6, rank=0, work_dir="folder", model=SimpleNamespace(device="cpu")),
        logger=logging.getLogger("test"),
        save_checkpoint=lambda folder, name, save_optimizer: saved.append(f"{folder}/{name}"),
    )
    hook = InterruptionHook()
    hook.before_run(runner)
    return hook, runner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_after_the_step(number, caplog):
    before, saved = signal.getsignal(number), []
    hook, runner = interruptible(saved)
    hook.after_train_iter(runner)
    os.kill(os.getpid(), number)
    assert not saved  # the step goes on
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        hook.after_train_iter(runner)
    assert saved == ["folder/latest.pth"]
    assert "after iteration 7" in caplog.text
    assert signal.getsignal(number) is before


def test_only_the_first_process_writes():
    saved = []
    hook, runner = interruptible(saved)
    runner.rank = 1
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        hook.after_train_iter(runner)
    assert not saved


def test_a_second_signal_ends_at_once_unless_it_is_the_same_passed_on(monkeypatch):
    hook, runner = interruptible([])
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    monkeypatch.setattr(interruption, "SAME", 0)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    hook.after_run(runner)


def test_a_training_that_was_not_interrupted_leaves_the_handlers_as_they_were():
    before = signal.getsignal(signal.SIGINT)
    hook, runner = interruptible([])
    assert signal.getsignal(signal.SIGINT) is not before
    hook.after_run(runner)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("signum", "everywhere"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["INT", "TERM"]
)
def test_two_processes_end_after_the_same_step(shapes, tmp_path, signum, everywhere):
    """The signal reaches torchrun and its processes, or torchrun alone, which passes it on.

    It does so to the workers that read images, too.
    """
    out_dir = tmp_path / "run"
    options = (
        *("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"),
        *("--config", CONFIGS / "tiny_resnest.py", "--out_dir", out_dir),
        *("--device", "cpu", "--precision", "fp32", "--workers", 1),
        *("--max_iters", 100_000, "--cfg-options", "log_interval=1"),
    )
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node=2")
    command = [sys.executable, "-m", *launcher, "src/train_cis.py", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = out_dir / "train.log.json"
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (log.is_file() and '"iter": 3' in log.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        for number in [process.pid, *(children_of(process.pid) if everywhere else [])]:
            os.kill(number, signum)
        _, errors = process.communicate()
    assert process.returncode != 0
    assert errors.count("ends after this step") == 2
    step = load_checkpoint(out_dir / "latest.pth")["meta"]["iter"]
    assert step >= 3
    assert f"interrupted after iteration {step}" in (out_dir / "train.log").read_text()
    assert torch.load(out_dir / "latest.pth", weights_only=True)["optimizer"]["state"]


def children_of(process: int) -> list[int]:
    with open(f"/proc/{process}/task/{process}/children") as file:
        return [int(number) for number in file.read().split()]
