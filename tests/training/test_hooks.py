"""What happens around iterations: norms, the best checkpoint, gradients."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pytest
import torch
from helpers import CLASS_NAMES, CONFIGS
from mmcv.runner import OptimizerHook
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from network.models import build_model
from training.config import load_config
from training.crop_masks import CropMasks
from training.hooks import CompetitionHook, NormHook
from training.runner import build_runner


def test_norms_use_the_batch_s_statistics_at_first_and_then_running_ones():
    model = build_model(load_config(str(CONFIGS / "tiny_resnest.py")).model.to_dict())
    inner = [m.norm1 for m in model.modules() if isinstance(m, SplitAttentionConv2d)]
    outer = [
        m for m in model.modules() if isinstance(m, _BatchNorm) and all(m is not i for i in inner)
    ]
    hook = NormHook(live_iters=3)
    for iteration, live in ((0, True), (2, True), (3, False)):
        model.train()
        hook.before_train_iter(SimpleNamespace(iter=iteration, model=model))
        assert all(module.training == live for module in outer)
        assert not any(module.training for module in inner)
    outer[0].requires_grad_(False)  # as mmdet freezes stages
    hook.before_train_iter(SimpleNamespace(iter=0, model=model))
    assert [module.training for module in outer[:2]] == [False, True]


class Runner:
    """Writes empty checkpoints."""

    def __init__(self, folder):
        self.work_dir, self.meta, self.iter = str(folder), {"hook_msgs": {}}, 0

    def save_checkpoint(self, folder, name):
        (Path(folder) / name).write_text("x")


def test_the_best_checkpoint_is_kept_until_there_is_a_better_one(tmp_path):
    runner = Runner(tmp_path)
    for iteration, score in enumerate([0.1, 0.3, 0.2, 0.3, 0.4]):
        runner.iter = iteration
        CompetitionHook._keep_best(runner, score)
        best = {0: 1, 1: 2, 2: 2, 3: 2, 4: 5}[iteration]
        assert [p.name for p in tmp_path.iterdir()] == [f"best_mAP_iter_{best}.pth"]
    assert runner.meta["hook_msgs"] == {"best_score": 0.4, "best_ckpt": "best_mAP_iter_5.pth"}


def test_the_best_stays_when_its_successor_cannot_be_written(tmp_path, monkeypatch):
    runner = Runner(tmp_path)
    CompetitionHook._keep_best(runner, 0.1)
    monkeypatch.setattr(
        Runner, "save_checkpoint", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    runner.iter = 5
    with pytest.raises(OSError):
        CompetitionHook._keep_best(runner, 0.2)
    assert [path.name for path in tmp_path.iterdir()] == ["best_mAP_iter_1.pth"]


@pytest.fixture
def runner(tmp_path):
    config = load_config(str(CONFIGS / "tiny_resnest.py"), ["grad_clip.max_norm=0.5"])
    return build_runner(
        config,
        CLASS_NAMES,
        [],
        device=torch.device("cpu"),
        dtype=torch.float32,
        out_dir=tmp_path,
        logger=logging.getLogger("test"),
        from_scratch=True,
    )


def test_gradients_are_clipped(runner):
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, OptimizerHook)]
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 100.0)
    norm = hook.clip_grads([parameter])
    assert norm == pytest.approx(200)
    assert parameter.grad.norm().item() == pytest.approx(0.5, rel=1e-3)


def test_an_image_without_cells_gives_every_parameter_a_gradient(runner):
    """Otherwise the processes of a distributed run would wait for each other."""
    model = runner.model.detector.train()
    NormHook(live_iters=0).before_train_iter(runner)
    losses = model(
        img=torch.randn(1, 3, 64, 64),
        img_metas=[dict(img_shape=(64, 64, 3), pad_shape=(64, 64, 3))],
        gt_bboxes=[torch.zeros(0, 4)],
        gt_labels=[torch.zeros(0, dtype=torch.int64)],
        gt_masks=[CropMasks([], np.zeros((0, 2), int), 64, 64)],
        gt_bboxes_ignore=[torch.zeros(0, 4)],
        return_loss=True,
    )
    loss, _ = model._parse_losses(losses)
    loss.backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []
