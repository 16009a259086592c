"""The parts of a training put together: what a checkpoint holds and what goes on from it."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import network.operators  # noqa: F401  (before mmdet)

import pytest
import torch
from helpers import CLASS_NAMES, CONFIGS
from mmcv.parallel import DataContainer
from torch import nn

from cells.annotations import load_annotations
from network.checkpoints import load_checkpoint
from training.config import load_config, training_pipeline
from training.dataset import build_loader
from training.hooks import (
    AverageHook,
    CheckpointHook,
    CompetitionHook,
    FiniteOptimizerHook,
    NormHook,
    SeedHook,
)
from training.runner import TrainingModel, build_runner, parameter_groups, record_environment
from utils.script import InputError

CPU = torch.device("cpu")
TINY = str(CONFIGS / "tiny_resnest.py")


def build(out_dir, *options: str, **more):
    return build_runner(
        load_config(TINY, options),
        CLASS_NAMES,
        [],
        device=CPU,
        dtype=torch.float32,
        out_dir=out_dir,
        logger=logging.getLogger("test"),
        **{"from_scratch": True, **more},
    )


def hook_of(runner, kind: type):
    (found,) = [hook for hook in runner.hooks if isinstance(hook, kind)]
    return found


def weights_of(runner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in runner.model.detector.state_dict().items()}


def stepped(runner) -> None:
    """One step of the optimizer, and of the average."""
    for parameter in runner.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    runner.optimizer.step()
    runner.average.after_train_iter(SimpleNamespace(iter=0))


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    runner = build(tmp_path, run={"seed": 1})
    stepped(runner)
    runner._iter = 6
    runner.meta["hook_msgs"] = {"best_score": 0.5, "best_ckpt": "best_mAP_iter_5.pth"}
    runner.choose_thresholds({"disc": 0.7, "default": 0.6}, {"default": 0.45})
    runner.save_checkpoint(str(tmp_path), "latest.pth", save_optimizer=True)
    path = str(tmp_path / "latest.pth")
    again = build(tmp_path, "seed=9", run={"seed": 1}, resume=path)
    assert again.iter == again.inner_iter == 7  # the iteration that was done is not done again
    assert again.meta["hook_msgs"] == runner.meta["hook_msgs"]
    torch.testing.assert_close(weights_of(again), weights_of(runner), rtol=0, atol=0)
    torch.testing.assert_close(again.average.average, runner.average.average, rtol=0, atol=0)
    old, new = (r.optimizer.state_dict()["state"] for r in (runner, again))
    torch.testing.assert_close(new, old, rtol=0, atol=0)
    assert not torch.equal(
        runner.average.average["roi_head.bbox_head.fc_cls.weight"],
        weights_of(runner)["roi_head.bbox_head.fc_cls.weight"],
    )
    inference = json.loads(again.description["inference"])
    assert inference["confidence"] == {"disc": 0.7, "default": 0.6}
    assert inference["mask_threshold"] == {"default": 0.45}
    with pytest.raises(InputError, match="seed is 2, was 1"):
        build(tmp_path, run={"seed": 2}, resume=path)


def test_what_is_published_is_the_average_without_the_state_of_the_training(tmp_path):
    runner = build(tmp_path)
    stepped(runner)
    runner._iter = 3
    runner.save_checkpoint(str(tmp_path), "at_{}.pth")
    checkpoint = load_checkpoint(str(tmp_path / "at_4.pth"))
    assert not {"weights", "optimizer"} & checkpoint.keys()
    torch.testing.assert_close(checkpoint["state_dict"], runner.average.average)
    assert checkpoint["meta"]["iter"] == 4
    assert tuple(checkpoint["meta"]["class_names"]) == CLASS_NAMES
    with pytest.raises(InputError, match="no training state"):
        build(tmp_path, resume=str(tmp_path / "at_4.pth"))


def test_the_seed_decides_on_the_first_weights(tmp_path):
    first, same, other = (weights_of(build(tmp_path, f"seed={seed}")) for seed in (3, 3, 4))
    name = "rpn_head.rpn_conv.weight"
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])
    assert first["roi_head.bbox_head.fc_cls.weight"].shape[0] == len(CLASS_NAMES) + 1


def test_weights_of_another_training_are_taken_over(tmp_path, caplog):
    runner = build(tmp_path)
    stepped(runner)
    runner.save_checkpoint(str(tmp_path), "start.pth")
    with caplog.at_level(logging.INFO):
        again = build(tmp_path, load_from=str(tmp_path / "start.pth"), from_scratch=False)
    torch.testing.assert_close(weights_of(again), runner.average.average)
    torch.testing.assert_close(again.average.average, runner.average.average)
    assert again.iter == 0
    assert "left to random" not in caplog.text


@pytest.mark.parametrize(
    ("options", "forgotten"),
    [
        ({}, False),
        ({"from_scratch": True}, True),
        ({"load_from": "a.pth"}, True),
        ({"resume": "a.pth"}, True),
    ],
)
def test_pretrained_weights_are_for_what_starts_from_nothing_else(
    tmp_path, monkeypatch, options, forgotten
):
    def build_nothing(config):
        raise InterruptedError("init" in config)

    monkeypatch.setattr("training.runner.forget_pretrained", lambda c: c.update(init=None))
    monkeypatch.setattr("training.runner.build_model", build_nothing)
    with pytest.raises(InterruptedError) as built:
        build(tmp_path, **{"from_scratch": False, **options})
    assert built.value.args == (forgotten,)


def test_hooks_have_the_settings_of_the_config(tmp_path):
    options = ("seed=5", "max_iters=50", "eval_interval=20", "checkpoint_interval=7")
    options += ("live_norm.scratch=0.4", "average_decay=0.75")
    runner = build(tmp_path, *options)
    seeds = hook_of(runner, SeedHook)
    assert (seeds.seed, seeds.rank) == (5, 0)
    assert runner.hooks[0] is seeds  # before anything that draws
    assert hook_of(runner, NormHook).live_iters == 20
    assert hook_of(runner, AverageHook) is runner.average
    assert runner.average.decay == 0.75
    assert hook_of(runner, CompetitionHook).interval == 20
    assert hook_of(runner, CheckpointHook).intervals == (7, 20)
    # weights are averaged, then evaluated, then written
    kinds = (AverageHook, CompetitionHook, CheckpointHook)
    places = [runner.hooks.index(hook_of(runner, kind)) for kind in kinds]
    assert places == sorted(places)
    assert (runner.max_iters, runner.work_dir, runner.timestamp) == (50, str(tmp_path), "train")


def test_the_start_decides_how_long_norms_use_the_batch(tmp_path):
    shares = ("live_norm.checkpoint=0.1", "live_norm.pretrained=0.2", "live_norm.scratch=0.4")
    options = (*shares, "max_iters=50")

    def live_iters(*more: str, **start: object) -> int:
        return hook_of(build(tmp_path, *options, *more, **start), NormHook).live_iters

    assert live_iters(from_scratch=True) == 20
    assert live_iters("model.backbone.init_cfg=None", from_scratch=False) == 20
    build(tmp_path, *options).save_checkpoint(str(tmp_path), "a.pth", save_optimizer=True)
    assert live_iters(from_scratch=False, load_from=str(tmp_path / "a.pth")) == 5
    # what is resumed goes on as it was started
    assert live_iters(from_scratch=False, resume=str(tmp_path / "a.pth")) == 20


def test_a_gradient_that_is_not_finite_stops_the_training_before_the_step(tmp_path):
    runner = build(tmp_path)
    before = weights_of(runner)
    for parameter in runner.model.parameters():
        parameter.grad = torch.full_like(parameter, float("inf"))
    runner.outputs = {"loss": torch.zeros((), requires_grad=True)}
    runner.optimizer.zero_grad = lambda: None
    with pytest.raises(InputError, match="the gradient is not finite any more"):
        hook_of(runner, FiniteOptimizerHook).after_train_iter(runner)
    torch.testing.assert_close(weights_of(runner), before, rtol=0, atol=0)


def test_the_optimizer_of_the_config_decays_matrices_only(tmp_path):
    runner = build(tmp_path, "optimizer.weight_decay=0.03")
    decaying, others = runner.optimizer.param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.03, 0)
    assert min(value.ndim for value in decaying["params"]) > 1
    assert max(value.ndim for value in others["params"]) == 1
    count = len(decaying["params"]) + len(others["params"])
    assert count == len(list(runner.model.parameters()))


def test_frozen_parameters_are_not_optimized():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    groups = parameter_groups(model, 0.1)
    assert [[value.shape for value in group["params"]] for group in groups] == [[(1, 3)], [(1,)]]


@pytest.fixture
def batch(shapes) -> dict:
    config = load_config(TINY)
    path = shapes / "annotations/annotations_train_0.json"
    records = load_annotations(path, shapes / "images").images
    loader = build_loader(records, training_pipeline(config), batch_size=2, workers=0, seed=0)
    assert loader.num_workers == 0 and not loader.persistent_workers
    return next(iter(loader))


def test_a_step_gives_the_losses_of_a_batch(tmp_path, batch):
    runner = build(tmp_path)
    runner.model.train()
    NormHook(live_iters=0).before_train_iter(runner)
    found = runner.model.train_step(batch, None)
    assert found["num_samples"] == 2
    assert found["loss"].requires_grad
    parts = [value for name, value in found["log_vars"].items() if name.startswith("loss_")]
    assert len(parts) >= 5
    assert found["log_vars"]["loss"] == pytest.approx(float(found["loss"].detach()))
    assert sum(parts) == pytest.approx(found["log_vars"]["loss"], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, batch):
    runner = build(tmp_path)
    with torch.no_grad():
        runner.model.detector.rpn_head.rpn_cls.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="loss .loss_rpn_cls.* not finite any more.*--cfg-options"):
        runner.model.train_step(batch, None)


class Told(nn.Module):
    """A detector that notes what it is given."""

    def forward(self, return_loss, **data):
        assert return_loss
        self.data = data
        return {"loss_a": torch.ones(2, requires_grad=True), "loss_b": torch.tensor(0.5)}

    def _parse_losses(self, losses):
        total = sum(value.mean() for value in losses.values())
        return total, {name: float(value.detach().mean()) for name, value in losses.items()}


def test_batches_are_unpacked():
    detector = Told()
    model = TrainingModel(detector, CPU, torch.float32)
    assert (model.device, model.dtype, model.runnable) == (CPU, torch.float32, detector)
    boxes = [torch.zeros(2, 4), torch.ones(1, 4)]
    metas = [{"a": 1}, {"a": 2}]
    batch = {
        "img": DataContainer([torch.rand(2, 3, 4, 5)], stack=True),
        "gt_bboxes": DataContainer([boxes]),
        "img_metas": DataContainer([metas], cpu_only=True),
    }
    found = model.train_step(batch, None)
    assert (found["num_samples"], found["loss"].item()) == (2, 1.5)
    assert found["log_vars"] == {"loss_a": 1, "loss_b": 0.5}
    assert detector.data["img"].is_contiguous(memory_format=torch.channels_last)
    assert detector.data["img_metas"] is metas
    assert all(a is b for a, b in zip(detector.data["gt_bboxes"], boxes, strict=True))


def test_the_environment_is_recorded(tmp_path):
    record_environment(tmp_path / "environment.json", ["train_cis.py", "--x"])
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["command"] == ["train_cis.py", "--x"]
    assert found["PyTorch"].startswith(torch.__version__.split("+")[0])
    assert all(isinstance(value, str) for name, value in found.items() if name != "command")
