r"""What a training step spends its time on: waiting for data, forward, backward, optimizer.

    python benchmarks/benchmark_training.py
    python benchmarks/benchmark_training.py --config configs/mask_rcnn_resnest200.py --iterations 5
    torchrun --nproc_per_node 2 benchmarks/benchmark_training.py --precisions bf16 --threads 1 \
        --batch_size 2

Trains from random weights on simulated images, through the same runner, hooks and data loader as
`train_cis.py`, on the CPU, and prints medians as a Markdown table. The rest is what the runner's
hooks do besides: seeds, norms, learning rate, clipping of gradients, logs. The first command takes
a minute and a half on two cores. Under torchrun, a step is that of all processes together, and the
first one's times are printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from measuring import in_own_process, median_stages, timed
from tables import markdown, milliseconds

from utils.options import at_least, script_parser
from utils.script import InputError, quiet_libraries, run_script
from utils.stages import StageTimer, peak_memory_mb

if TYPE_CHECKING:
    from training.runner import CellRunner

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("data", "forward", "backward", "optimizer", "rest")


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--config", default=str(ROOT / "configs" / "mask_rcnn_resnest50_slim.py"))
    add("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    add("--iterations", type=at_least(1), default=10, help="after a first one (default: 10)")
    add("--batch_size", type=at_least(1), help="images a step of a process (default: the config's)")
    add("--workers", type=int, default=2, help="as in train_cis.py (default: %(default)s)")
    add("--threads", type=at_least(1), help="cores to use (default: all)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if len(args.precisions) > 1 and "RANK" in os.environ:
        raise InputError("--precisions: torchrun's processes can join only once; name one")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        simulate = [sys.executable, ROOT / "src" / "simulate_cells.py", "--out_dir", folder]
        subprocess.run([*simulate, "--n_train", "12", "--n_valid", "3"], check=True)
        for precision in args.precisions:
            seconds, megabytes = in_own_process(measure, args, Path(folder), precision)
            step = seconds["step"]
            shares = [f"{milliseconds(seconds[s])} ({seconds[s] / step:.0%})" for s in STAGES]
            rows.append((precision, milliseconds(step), *shares, str(megabytes)))
    if os.environ.get("RANK", "0") != "0":
        return
    print("milliseconds:\n")
    print(markdown(("", "step", *STAGES, "peak MB"), rows))


def measure(args: argparse.Namespace, data: Path, precision: str) -> tuple[dict[str, float], int]:
    """Median seconds of each stage, and the peak memory of this process in MB."""
    quiet_libraries()
    import logging

    import torch

    from cells.annotations import annotation_file, load_annotations
    from training.config import load_config, scale_schedule, training_pipeline
    from training.dataset import build_loader
    from training.runner import build_runner
    from training.statistics import describe_data
    from utils.device import join_processes, leave_processes, resolve_precision, use_threads

    logging.getLogger("mmcv").setLevel(logging.WARNING)
    use_threads(args.threads)
    train, valid = (
        load_annotations(annotation_file(data / "annotations", split, 0), data / "images")
        for split in ("train", "valid")
    )
    config = load_config(args.config)
    batch_size = args.batch_size or config.base_batch_size
    config.inference = describe_data(config.inference, train.images, train.class_names)
    device, rank, world_size = join_processes(torch.device("cpu"))
    scale_schedule(config, batch_size * world_size, None)
    runner = build_runner(
        config,
        train.class_names,
        valid.images,
        device=device,
        dtype=resolve_precision(precision, device),
        out_dir=data / "model",
        logger=logging.getLogger("mmcv"),
        from_scratch=True,
    )
    loader = build_loader(
        train.images,
        training_pipeline(config),
        batch_size=batch_size,
        workers=args.workers,
        seed=config.seed,
        rank=rank,
        world_size=world_size,
    )
    stages = median_stages(time_steps(runner, loader, args.iterations))
    leave_processes()
    return stages, peak_memory_mb()


class Batches:
    """What the runner takes its batches from; waiting for them is timed."""

    epoch = 0

    def __init__(self, loader: Iterable) -> None:
        self.iterator = iter(loader)
        self.timer = StageTimer()

    def __len__(self) -> int:
        return sys.maxsize  # endless

    def __next__(self) -> dict:
        with self.timer.stage("data"):
            return next(self.iterator)


def time_steps(runner: CellRunner, loader: Iterable, iterations: int) -> list[StageTimer]:
    """Run one iteration, and then as many as asked for, each with a timer of its own."""
    batches = Batches(loader)
    train_step, update = runner.model.train_step, runner.optimizer.step
    runner.call_hook("before_run")
    runner.call_hook("before_epoch")
    timers = []
    for _ in range(1 + iterations):
        timer = batches.timer = StageTimer()
        runner.model.train_step = partial(timed_step, timer, train_step)
        runner.optimizer.step = timed(timer, "optimizer", update)
        start = time.perf_counter()
        runner.train(batches)
        step = time.perf_counter() - start
        timer.seconds |= {"step": step, "rest": step - sum(timer.seconds.values())}
        timers.append(timer)
    return timers[1:]


def timed_step(timer: StageTimer, train_step: Callable, *args: object, **kwargs: object) -> dict:
    """Losses of a batch; going backward from them, which the runner does later, is timed, too."""
    outputs = timed(timer, "forward", train_step)(*args, **kwargs)
    loss = outputs["loss"]
    loss.backward = timed(timer, "backward", loss.backward)
    return outputs


if __name__ == "__main__":
    run_script(main, parse_args())
