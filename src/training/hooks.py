"""What happens around the iterations of a training: seeds, norms, evaluation, checkpoints."""

from __future__ import annotations

import gc
from pathlib import Path

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.runner import Hook, IterBasedRunner, LoggerHook, OptimizerHook
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cells.annotations import AnnotatedImage
from cells.masks import MASK_THRESHOLD
from network.detector import Detector
from network.ensemble import Ensemble
from network.tiling import TiledEnsemble
from training.selection import select
from utils.device import seed_everything
from utils.script import InputError


class SeedHook(Hook):
    """Seed every iteration from (seed, rank, iteration): a resumed run draws the same numbers."""

    def __init__(self, seed: int, rank: int) -> None:
        self.seed = seed
        self.rank = rank

    def before_train_iter(self, runner: IterBasedRunner) -> None:
        # the leading 1 keeps these numbers apart from those of the data stream
        seed_everything(1, self.seed, self.rank, runner.iter)


class NormHook(Hook):
    """Decides whether batch normalisation uses the batch's or the running statistics.

    Running statistics are what inference uses; those of one or two images are a poor estimate, so
    weights that know such images train with running statistics throughout. Random weights need
    statistics of the batch at first, until the running ones mean something. Layers that do not
    learn keep their running statistics. Layers inside a split attention see
    one value a channel and image, of which no statistics can be taken: there it is running
    statistics always (mean 0, variance 1 unless pretrained; scale and shift are learned).

    Args:
        live_iters: iterations from the start in which statistics of the batch are used.
    """

    def __init__(self, live_iters: int) -> None:
        self.live_iters = live_iters

    def before_train_iter(self, runner: IterBasedRunner) -> None:
        use_batch_statistics(runner.model, runner.iter < self.live_iters)


def use_batch_statistics(model: nn.Module, live: bool) -> None:
    """Let the norms use the batch's statistics, or else their running ones; see `NormHook`."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(live and all(p.requires_grad for p in module.parameters()))
    for module in model.modules():
        if isinstance(module, SplitAttentionConv2d):
            module.norm1.eval()


class FiniteOptimizerHook(OptimizerHook):
    """mmcv's hook, which clips the gradients and steps; here only where their norm is a number.

    Raises:
        InputError: the gradients are not finite.
    """

    def clip_grads(self, params: list[torch.Tensor]) -> torch.Tensor | None:
        norm = super().clip_grads(params)
        if norm is not None and not torch.isfinite(norm):
            raise diverged("gradient")
        return norm


def diverged(what: str) -> InputError:
    """The error for numbers that are not finite any more."""
    return InputError(
        f"the {what} is not finite any more; start again with a lower learning rate (--cfg-options "
        "optimizer.lr=...) and another --out_dir, from the latest checkpoint if there is one "
        "(--load_from)"
    )


class AverageHook(Hook):
    """Exponential moving average of the weights, which evaluation and publishing use.

    What the last iterations' noise adds to the weights averages out, as after a decay of the
    learning rate (Polyak and Juditsky 1992), at any moment of the training.

    Args:
        detector: what is trained.
        decay: share of the average that stays in each iteration, towards the end; at first the
            average is over a tenth of the iterations so far.
    """

    def __init__(self, detector: nn.Module, decay: float) -> None:
        self.state = detector.state_dict()  # its tensors change as the model learns
        self.decay = decay
        self.restart()

    def restart(self) -> None:
        """Let the average be the present weights."""
        self.average = {name: value.clone() for name, value in self.state.items()}

    def after_train_iter(self, runner: IterBasedRunner) -> None:
        decay = min(self.decay, (1 + runner.iter) / (10 + runner.iter))
        names = [name for name, value in self.state.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in names], [self.state[name] for name in names], 1 - decay
        )
        for name, value in self.state.items():
            if not value.is_floating_point():  # counters
                self.average[name].copy_(value)


class CompetitionHook(Hook):
    """Evaluate the averaged weights with the competition's metric at intervals and at the end.

    The thresholds that suit them best are chosen on the same images, and are stored with the best
    checkpoint. The processes of a distributed run share the images.

    Args:
        records: validation images.
        interval: in iterations.
    """

    def __init__(self, records: list[AnnotatedImage], interval: int) -> None:
        self.records = records
        self.interval = interval

    def after_train_iter(self, runner: IterBasedRunner) -> None:
        if self.every_n_iters(runner, self.interval) or runner.iter + 1 == runner.max_iters:
            for hook in runner.hooks:  # what they have of the training, apart from the evaluation
                if isinstance(hook, LoggerHook):
                    hook.after_train_iter(runner)
            runner.log_buffer.clear()
            self._evaluate(runner)
            gc.collect()  # a model made fast refers to itself, and would stay in memory

    def _evaluate(self, runner: IterBasedRunner) -> None:
        model = runner.model
        # a copy: what is made fast for inference cannot be averaged any more
        weights = {name: value.clone() for name, value in runner.average.average.items()}
        checkpoint = {"meta": runner.description, "state_dict": weights}
        detector = Detector.from_checkpoint(checkpoint, "weights", model.device, model.dtype)
        detector.inference = {**detector.inference, "mask_threshold": MASK_THRESHOLD}
        ensemble = TiledEnsemble(Ensemble([detector]), progress=False)
        found = select(ensemble, self.records, runner.rank, runner.world_size)
        thresholds = found.confidence, found.mask_threshold
        table = found.table.round(4).to_string()
        runner.logger.info("best thresholds: %s, masks from %s\n%s", *thresholds, table)
        for name, score in found.table["mAP"].items():
            runner.log_buffer.output["mAP" if name == "all" else f"mAP_{name}"] = score
        runner.log_buffer.ready = True
        runner.choose_thresholds(*thresholds)
        if runner.rank == 0:
            self._keep_best(runner, found.score)

    @staticmethod
    def _keep_best(runner: IterBasedRunner, score: float) -> None:
        """Write the checkpoint if it is the best so far; only then does the one before go."""
        best = runner.meta["hook_msgs"]
        if score <= best.get("best_score", -1.0):
            return
        before = best.get("best_ckpt")
        name = f"best_mAP_iter_{runner.iter + 1}.pth"
        best.update(best_score=score, best_ckpt=name)
        runner.save_checkpoint(runner.work_dir, name)
        if before and before != name:
            (Path(runner.work_dir) / before).unlink(missing_ok=True)


class CheckpointHook(Hook):
    """Write `latest.pth` at every one of the intervals and at the end."""

    def __init__(self, *intervals: int) -> None:
        self.intervals = intervals

    def after_train_iter(self, runner: IterBasedRunner) -> None:
        due = any(self.every_n_iters(runner, interval) for interval in self.intervals)
        if runner.rank == 0 and (due or runner.iter + 1 == runner.max_iters):
            runner.save_checkpoint(runner.work_dir, "latest.pth", save_optimizer=True)
