"""Training: model, weights to start from, and mmcv's runner.

The runner, schedule, optimizer and log hooks are mmcv's; what is added here makes a run
reproducible (on a CPU a resumed one continues to the same weights), distributes it through torch's
own DistributedDataParallel, and makes its checkpoints plain data.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import torch
import torch.distributed as dist
from mmcv import Config
from mmcv.parallel import DataContainer
from mmcv.runner import OPTIMIZERS, IterBasedRunner
from mmcv.utils import build_from_cfg, collect_env
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cells.annotations import AnnotatedImage
from network.checkpoints import describe_model, load_checkpoint, load_weights, save_checkpoint
from network.models import build_model, forget_pretrained, run_in_dtype, set_num_classes
from training.convolutions import use_quick_gradients
from training.hooks import (
    AverageHook,
    CheckpointHook,
    CompetitionHook,
    FiniteOptimizerHook,
    NormHook,
    SeedHook,
    diverged,
)
from training.initial_weights import initialise, licence_of, start_from
from training.interruption import InterruptionHook
from training.run_record import check_same_run
from training.training_state import check_training_state, load_optimizer
from utils.device import seed_everything
from utils.files import write_json


def record_environment(path: Path, command: Sequence[str]) -> None:
    """Write the command, versions and hardware as JSON."""
    environment = {"command": list(command), **{k: str(v) for k, v in collect_env().items()}}
    write_json(path, environment)


KEPT = ("inference", "licence", "live_iters")  # of a checkpoint's `meta` when it is resumed


class TrainingModel(nn.Module):
    """What the runner trains: unpacks batches, moves them to the device, returns the losses.

    mmcv's own data-parallel wrappers do not work with current torch on a GPU.

    Args:
        detector: mmdet detector on `device`.
        device: where to train.
        dtype: what its convolutional parts compute in.
    """

    def __init__(self, detector: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.detector = detector
        self.device = device
        self.dtype = dtype
        train_in_dtype(detector, dtype, device)
        self.runnable = detector
        if dist.is_initialized():
            # every parameter gets a gradient, also from images without cells, see test_hooks.py
            ids = [device.index] if device.type == "cuda" else None
            self.runnable = DistributedDataParallel(detector, device_ids=ids)

    def train_step(self, batch: dict, optimizer: torch.optim.Optimizer) -> dict:
        """Losses of one batch, in the form that mmcv's runner expects."""
        data = {key: unpack(value, self.device) for key, value in batch.items()}
        losses = self.runnable(**data, return_loss=True)
        loss, log_vars = self.detector._parse_losses(losses)
        if not torch.isfinite(loss):
            bad = [name for name, value in log_vars.items() if not math.isfinite(value)]
            raise diverged(f"loss ({', '.join(bad)})")
        return dict(loss=loss, log_vars=log_vars, num_samples=len(data["img_metas"]))


def train_in_dtype(detector: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Let a detector on `device` compute in `dtype`, the way that is quickest there; in place."""
    detector.to(memory_format=torch.channels_last)
    run_in_dtype(detector, dtype, device.type)
    if device.type == "cpu":
        use_quick_gradients(detector, dtype)


def unpack(
    container: DataContainer, device: torch.device
) -> torch.Tensor | list[torch.Tensor] | list[dict]:
    """What a collated batch holds under one key, on the device; images channels_last."""
    (value,) = container.data  # one chunk: a process drives one device
    if container.cpu_only:
        return value
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True, memory_format=torch.channels_last)
    return [item.to(device, non_blocking=True) for item in value]


class CellRunner(IterBasedRunner):
    """mmcv's runner by iteration, writing plain-data checkpoints and resuming from them.

    Args:
        description: the `meta` that makes a checkpoint self-describing, see `describe_model`.
        average: holds the averaged weights, which a checkpoint's `state_dict` is made of.
    """

    def __init__(self, *args, description: dict, average: AverageHook, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.description = description
        self.average = average

    def choose_thresholds(
        self, confidence: dict[str, float], mask_threshold: dict[str, float]
    ) -> None:
        """Let checkpoints from now on carry these thresholds."""
        inference = json.loads(self.description["inference"])
        inference.update(confidence=confidence, mask_threshold=mask_threshold)
        self.description = {**self.description, "inference": json.dumps(inference)}

    def save_checkpoint(
        self,
        out_dir: str,
        filename_tmpl: str = "iter_{}.pth",
        meta: dict | None = None,
        save_optimizer: bool = False,
        create_symlink: bool = False,
    ) -> None:
        """Write weights and progress; `hook_msgs` keeps the best score for a resume."""
        meta = {**self.description, "iter": self.iter + 1, "hook_msgs": self.meta["hook_msgs"]}
        checkpoint = {"meta": meta, "state_dict": _on_cpu(self.average.average)}
        if save_optimizer:
            checkpoint["weights"] = _on_cpu(self.model.detector.state_dict())
            checkpoint["optimizer"] = self.optimizer.state_dict()
        save_checkpoint(Path(out_dir) / filename_tmpl.format(self.iter + 1), checkpoint)

    def resume(self, path: str) -> None:
        """Continue where the checkpoint was written."""
        checkpoint = load_checkpoint(path)
        check_training_state(checkpoint, path)
        check_same_run(path, checkpoint["meta"]["run"], self.description["run"])
        load_weights(self.model.detector, checkpoint["state_dict"], path)
        self.average.restart()
        load_weights(self.model.detector, checkpoint["weights"], path)
        load_optimizer(self.optimizer, checkpoint["optimizer"], path)
        meta = checkpoint["meta"]
        kept = {name: meta[name] for name in KEPT if name in meta}
        self.description = {**self.description, **kept}
        self._iter = self._inner_iter = meta["iter"]
        self.meta["hook_msgs"] = meta["hook_msgs"]


def _on_cpu(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in state.items()}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameters with and without weight decay; norms' and biases' have none.

    Pulling a scale or shift towards zero regularises nothing.
    """
    matrices = [value for value in model.parameters() if value.requires_grad and value.ndim > 1]
    vectors = [value for value in model.parameters() if value.requires_grad and value.ndim <= 1]
    return [
        dict(params=matrices, weight_decay=weight_decay),
        dict(params=vectors, weight_decay=0.0),
    ]


def build_runner(
    config: Config,
    class_names: tuple[str, ...],
    validation: list[AnnotatedImage],
    *,
    device: torch.device,
    dtype: torch.dtype,
    out_dir: str | Path,
    logger: logging.Logger,
    load_from: str | None = None,
    resume: str | None = None,
    from_scratch: bool = False,
    run: Mapping[str, object] | None = None,
) -> CellRunner:
    """Everything but the training data: model, optimizer, schedule, evaluation, logs.

    `run` is what `describe_run` says of this one; a checkpoint of another one is not resumed.
    """
    model_config = config.model.to_dict()
    set_num_classes(model_config, len(class_names))
    pretrained = not from_scratch and forget_pretrained(config.model.to_dict())
    if from_scratch or load_from or resume:
        forget_pretrained(model_config)
    seed_everything(0, config.seed)
    detector = build_model(deepcopy(model_config))
    initialise(detector)
    start = "checkpoint" if load_from else "pretrained" if pretrained else "scratch"
    live_iters = round(config.live_norm[start] * config.max_iters)
    about = {"run": dict(run or {}), "live_iters": live_iters}
    if load_from and not resume:  # which has gone on from it
        about |= _start_from(detector, load_from, class_names, logger)
    model = TrainingModel(detector.to(device), device, dtype)
    groups = parameter_groups(model, config.optimizer.get("weight_decay", 0.0))
    average = AverageHook(detector, config.average_decay)
    runner = CellRunner(
        model,
        optimizer=build_from_cfg(dict(config.optimizer), OPTIMIZERS, dict(params=groups)),
        average=average,
        work_dir=str(out_dir),
        logger=logger,
        meta={"hook_msgs": {}},
        max_iters=config.max_iters,
        description=describe_model(model_config, config.inference, class_names, **about),
    )
    runner.timestamp = "train"
    if resume:
        runner.resume(resume)
    _register_hooks(runner, config, validation)
    return runner


def _start_from(
    detector: nn.Module, path: str, class_names: tuple[str, ...], logger: logging.Logger
) -> dict[str, str]:
    """Take a checkpoint's weights; returns what a training from it inherits: its licence."""
    for line in start_from(detector, path, class_names):
        logger.info(line)
    licence = licence_of(path)
    if not licence:
        return {}
    logger.info("licence of %s and of what is trained from it: %s", path, licence)
    return {"licence": licence}


def _register_hooks(runner: CellRunner, config: Config, validation: list[AnnotatedImage]) -> None:
    """Everything that happens around the iterations."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    runner.register_hook(SeedHook(config.seed, rank), priority="HIGHEST")
    runner.register_hook(NormHook(runner.description["live_iters"]))
    log_hooks = [dict(type="TextLoggerHook"), dict(type="TensorboardLoggerHook")]
    runner.register_training_hooks(
        lr_config=config.lr_config,
        optimizer_config=FiniteOptimizerHook(grad_clip=config.grad_clip),
        log_config=dict(interval=config.log_interval, hooks=log_hooks),
    )
    runner.register_hook(runner.average)
    runner.register_hook(CompetitionHook(validation, config.eval_interval), priority="LOW")
    # last: it then keeps the best score of an evaluation in the same iteration
    runner.register_hook(
        CheckpointHook(config.checkpoint_interval, config.eval_interval), priority="VERY_LOW"
    )
    runner.register_hook(InterruptionHook(), priority="VERY_LOW")  # when all is done for the step
