"""When each hook acts, and on what; with a runner that only counts."""

from __future__ import annotations

import logging
from collections import OrderedDict
from types import SimpleNamespace

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pandas as pd
import pytest
import torch
from mmcv.runner import TextLoggerHook
from torch import nn

from training import hooks
from training.hooks import AverageHook, CheckpointHook, CompetitionHook, SeedHook
from training.selection import Selection


def runner_of(**values) -> SimpleNamespace:
    return SimpleNamespace(**{"iter": 0, "max_iters": 10, "rank": 0, "hooks": [], **values})


def test_each_iteration_of_each_process_draws_its_own_numbers_again():
    drawn = {}
    for seed in (0, 1):
        for rank in (0, 1):
            for iteration in (0, 1):
                hook = SeedHook(seed, rank)
                for _ in range(2):
                    hook.before_train_iter(runner_of(iter=iteration))
                    values = float(torch.rand(1)), float(np.random.rand())
                    assert drawn.setdefault((seed, rank, iteration), values) == values
    assert len(set(drawn.values())) == 8


def test_numbers_of_an_iteration_are_not_those_of_the_data_stream():
    """A sample of the stream is seeded by (seed, position)."""
    from utils.device import seed_everything

    SeedHook(0, 0).before_train_iter(runner_of(iter=5))
    drawn = np.random.rand()
    for parts in ((0, 5), (0, 0), (0, 0, 5), (5,)):
        seed_everything(*parts)
        assert np.random.rand() != drawn


@pytest.mark.parametrize(("iteration", "share"), [(0, 0.1), (2, 0.25), (20, 0.7), (500, 0.9)])
def test_the_average_is_over_a_tenth_of_the_iterations_at_first(iteration, share):
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    hook = AverageHook(model, decay=0.9)
    nn.init.ones_(model.weight)
    hook.after_train_iter(runner_of(iter=iteration))
    assert hook.average["weight"].item() == pytest.approx(1 - share)
    assert model.weight.item() == 1
    hook.restart()
    assert hook.average["weight"].item() == 1
    nn.init.zeros_(model.weight)
    assert hook.average["weight"].item() == 1  # a copy


class Saving(SimpleNamespace):
    """A runner that notes when `latest.pth` is written."""

    def save_checkpoint(self, folder, name, save_optimizer=False):
        assert (folder, name, save_optimizer) == ("out", "latest.pth", True)
        self.saved.append(self.iter + 1)


@pytest.mark.parametrize(("rank", "expected"), [(0, [3, 5, 6, 9, 10, 11]), (1, [])])
def test_the_latest_checkpoint_is_written_at_each_interval_and_at_the_end(rank, expected):
    runner = Saving(saved=[], rank=rank, max_iters=11, work_dir="out")
    hook = CheckpointHook(3, 5)
    for runner.iter in range(11):
        hook.after_train_iter(runner)
    assert runner.saved == expected


def test_evaluations_are_at_each_interval_and_at_the_end(monkeypatch):
    evaluated, logged = [], []
    monkeypatch.setattr(CompetitionHook, "_evaluate", lambda self, r: evaluated.append(r.iter + 1))
    monkeypatch.setattr(TextLoggerHook, "after_train_iter", lambda self, r: logged.append(r.iter))
    other = SimpleNamespace(after_train_iter=lambda r: pytest.fail("not a hook that logs"))
    cleared = SimpleNamespace(clear=lambda: logged.append("cleared"))
    runner = runner_of(hooks=[other, TextLoggerHook()], log_buffer=cleared)
    hook = CompetitionHook([], 4)
    for runner.iter in range(10):
        hook.after_train_iter(runner)
    assert evaluated == [4, 8, 10]
    # the losses so far are logged apart from the scores
    assert logged == [3, "cleared", 7, "cleared", 9, "cleared"]


class Evaluated(SimpleNamespace):
    """A runner after 41 iterations, with two weights and their averages."""

    def choose_thresholds(self, confidence, mask_threshold):
        self.chosen = confidence, mask_threshold

    def save_checkpoint(self, folder, name):
        self.saved = name


@pytest.mark.parametrize("rank", [0, 1])
def test_the_averaged_weights_are_evaluated(monkeypatch, tmp_path, rank):
    seen = {}

    def from_checkpoint(checkpoint, path, device, dtype):
        seen.update(checkpoint=checkpoint, place=(device, dtype))
        checkpoint["state_dict"]["w"].fill_(7)  # what is made fast changes its weights
        return SimpleNamespace(inference={"mask_threshold": 0.3, "other": 1})

    def select(ensemble, records, rank, world):
        seen.update(ensemble=ensemble, shared=(records, rank, world))
        table = pd.DataFrame({"images": [1, 2], "mAP": [0.25, 0.5]}, index=["cort", "all"])
        return Selection({"cort": 0.6, "default": 0.5}, {"default": 0.45}, table)

    monkeypatch.setattr(hooks.Detector, "from_checkpoint", from_checkpoint)
    monkeypatch.setattr(hooks, "Ensemble", lambda detectors: detectors)
    monkeypatch.setattr(hooks, "TiledEnsemble", lambda detectors, progress: (detectors, progress))
    monkeypatch.setattr(hooks, "select", select)
    average = {"w": torch.ones(2)}
    runner = Evaluated(
        iter=40,
        rank=rank,
        world_size=2,
        work_dir=str(tmp_path),
        meta={"hook_msgs": {}},
        description={"class_names": ("cort",)},
        model=SimpleNamespace(device="cpu", dtype=torch.float32),
        average=SimpleNamespace(average=average),
        logger=logging.getLogger("test"),
        log_buffer=SimpleNamespace(output=OrderedDict(), ready=False),
    )
    CompetitionHook(["a", "b"], 5)._evaluate(runner)
    assert seen["checkpoint"]["meta"] is runner.description
    assert seen["place"] == ("cpu", torch.float32)
    assert average["w"].tolist() == [1, 1]
    (detector,), progress = seen["ensemble"]
    assert detector.inference == {"mask_threshold": 0.5, "other": 1}
    assert not progress
    assert seen["shared"] == (["a", "b"], rank, 2)
    assert runner.log_buffer.output == {"mAP_cort": 0.25, "mAP": 0.5}
    assert runner.log_buffer.ready
    assert runner.chosen == ({"cort": 0.6, "default": 0.5}, {"default": 0.45})
    if rank:
        assert runner.meta["hook_msgs"] == {}  # the first process writes
    else:
        best = {"best_score": 0.5, "best_ckpt": "best_mAP_iter_41.pth"}
        assert runner.meta["hook_msgs"] == best
        assert runner.saved == "best_mAP_iter_41.pth"


def test_a_best_checkpoint_that_is_gone_is_no_obstacle(tmp_path):
    best = {"best_score": 0.0, "best_ckpt": "best_mAP_iter_3.pth"}
    runner = Evaluated(iter=6, work_dir=str(tmp_path), meta={"hook_msgs": best})
    CompetitionHook._keep_best(runner, 0.1)
    assert runner.saved == "best_mAP_iter_7.pth"


def test_a_model_that_finds_nothing_right_is_the_best_until_there_is_another(tmp_path):
    runner = Evaluated(iter=0, work_dir=str(tmp_path), meta={"hook_msgs": {}})
    CompetitionHook._keep_best(runner, 0.0)
    assert runner.meta["hook_msgs"] == {"best_score": 0.0, "best_ckpt": "best_mAP_iter_1.pth"}
