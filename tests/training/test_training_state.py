"""Training states that are damaged, or made to do harm."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from training.training_state import check_training_state, load_optimizer
from utils.script import InputError

BEST = {"best_ckpt": "best_mAP_iter_10.pth", "best_score": 0.5}
META = {"iter": 10, "run": {"seed": 1}, "hook_msgs": BEST}
GOOD = {"meta": META, "weights": {"a": torch.ones(2)}, "optimizer": {}}


def test_a_good_one():
    check_training_state(GOOD, "x.pth")
    for best in (
        {},
        {**BEST, "best_score": 0.0},
        {**BEST, "best_score": 1.0},
        {**BEST, "best_score": -1},
    ):
        check_training_state({**GOOD, "meta": {**META, "hook_msgs": best}}, "x.pth")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x.pth", "best_mAP_iter_1.pth/../../x", "", 7, "latest.pth"]
)
def test_a_best_checkpoint_elsewhere_is_not_deleted(name):
    """The file of this name is deleted when a better one comes."""
    meta = {**META, "hook_msgs": {**BEST, "best_ckpt": name}}
    with pytest.raises(InputError, match=r"--resume x\.pth.*impossible name.*--load_from"):
        check_training_state({**GOOD, "meta": meta}, "x.pth")


@pytest.mark.parametrize(
    "meta",
    [{"iter": -1}, {"iter": "10"}, {"iter": True}, {"run": []}, {"hook_msgs": None}]
    + [{"hook_msgs": {"best_score": score}} for score in (float("nan"), "1", 1.01, -1.01)],
)
def test_impossible_progress(meta):
    with pytest.raises(InputError, match="damaged"):
        check_training_state({**GOOD, "meta": {**META, **meta}}, "x.pth")


@pytest.mark.parametrize("weights", [None, {}, {"a": 1}, {"a": torch.full((2,), float("nan"))}])
def test_impossible_weights(weights):
    with pytest.raises(InputError, match="damaged"):
        check_training_state({**GOOD, "weights": weights}, "x.pth")


def stepped(shape: tuple[int, ...] = (3, 2)) -> torch.optim.Optimizer:
    parameter = torch.nn.Parameter(torch.ones(shape))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    parameter.sum().backward()
    optimizer.step()
    return optimizer


def test_an_optimizer_goes_on():
    state = deepcopy(stepped().state_dict())
    target = stepped()
    load_optimizer(target, state, "x.pth")
    torch.testing.assert_close(target.state_dict()["state"], state["state"])


@pytest.mark.parametrize(
    "state", [None, {}, [], {"state": {}, "param_groups": []}, stepped((4,)).state_dict()]
)
def test_another_optimizer_is_refused(state):
    with pytest.raises(InputError, match=r"--resume x\.pth: its optimizer does not fit"):
        load_optimizer(stepped(), state, "x.pth")
