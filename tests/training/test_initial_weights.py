"""Which weights a training takes over from another checkpoint."""

from __future__ import annotations

from urllib.error import URLError

import network.operators  # noqa: F401  (before mmdet)

import pytest
import torch
from helpers import CONFIGS
from torch import nn

from network.models import build_model, set_num_classes
from training import initial_weights
from training.config import load_config
from training.initial_weights import initialise, start_from
from utils.script import InputError


class Heads(nn.Module):
    """A backbone, and last layers of classes: three values of each, four of each box side."""

    def __init__(self, classes: int, side: int = 2, boxes_of_classes: bool = True) -> None:
        super().__init__()
        self.backbone = nn.Linear(side, 2)
        self.fc_cls = nn.Linear(2, classes + 1)
        self.fc_reg = nn.Linear(2, 4 * classes if boxes_of_classes else 4)
        self.conv_logits = nn.Conv2d(2, classes, 1)


def start(monkeypatch, model: nn.Module, other: nn.Module, names: tuple, theirs: tuple) -> list:
    checkpoint = {"state_dict": other.state_dict(), "meta": {"class_names": list(theirs)}}
    monkeypatch.setattr(initial_weights, "load_checkpoint", lambda path: checkpoint)
    return start_from(model, "x.pth", names)


def counted(model: nn.Module, first: float) -> nn.Module:
    """With the numbers from `first` on as its weights."""
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.arange(value.numel()).view_as(value) + first)
    return model


def test_rows_of_all_last_layers_follow_the_classes(monkeypatch):
    model, other = counted(Heads(3), 1000), counted(Heads(2), 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lines = start(monkeypatch, model, other, ("new", "b", "a"), ("a", "b"))
    for kind in ("weight", "bias"):
        ours, theirs = (getattr(m.fc_cls, kind).tolist() for m in (model, other))
        kept = before[f"fc_cls.{kind}"].tolist()
        assert ours == [kept[0], theirs[1], theirs[0], theirs[2]]  # the background is last
        ours, theirs = (getattr(m.fc_reg, kind).tolist() for m in (model, other))
        kept = before[f"fc_reg.{kind}"].tolist()
        assert ours == [*kept[:4], *theirs[4:8], *theirs[:4]]
        ours, theirs = (getattr(m.conv_logits, kind).tolist() for m in (model, other))
        kept = before[f"conv_logits.{kind}"].tolist()
        assert ours == [kept[0], theirs[1], theirs[0]]
    torch.testing.assert_close(model.backbone.weight, other.backbone.weight)
    assert len(lines) == 1
    assert "classes of x.pth: a, b; taken over by name: b, a; new: new" in lines[0]


def test_layers_without_rows_of_classes_are_taken_whole(monkeypatch):
    model = counted(Heads(3, boxes_of_classes=False), 1000)
    other = counted(Heads(2, boxes_of_classes=False), 0)
    lines = start(monkeypatch, model, other, ("c", "d", "e"), ("a", "b"))
    torch.testing.assert_close(model.fc_reg.weight, other.fc_reg.weight)
    assert "taken over by name: none; new: c, d, e" in lines[0]


def test_layers_that_do_not_fit_are_told(monkeypatch):
    model, other = counted(Heads(2), 1000), counted(Heads(2, boxes_of_classes=False), 0)
    other.conv_logits = counted(nn.Conv2d(3, 2, 1), 0)
    other.fc_cls = None
    lines = start(monkeypatch, model, other, ("a", "b"), ("a", "b"))
    assert lines == [
        "not in x.pth, left to random initialisation: fc_cls.weight, fc_cls.bias, "
        "fc_reg.weight, fc_reg.bias, conv_logits.weight"
    ]
    assert model.fc_cls.weight.min() == model.conv_logits.weight.min() == 1000
    assert model.conv_logits.bias.tolist() == [0, 1]


def test_the_same_classes_need_no_word(monkeypatch):
    model, other = counted(Heads(2), 1000), counted(Heads(2), 0)
    assert start(monkeypatch, model, other, ("a", "b"), ("a", "b")) == []
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_another_backbone_is_another_architecture(monkeypatch):
    with pytest.raises(InputError, match="--load_from x.pth: its architecture differs"):
        start(monkeypatch, Heads(2, side=3), Heads(2), ("a", "b"), ("a", "b"))


@pytest.mark.parametrize("error", [URLError("no route"), OSError("no route")])
def test_published_weights_that_cannot_be_had(error):
    class Model:
        def init_weights(self):
            raise error

    with pytest.raises(InputError, match="no route.*--from_scratch or --load_from"):
        initialise(Model())


def test_one_class_may_be_called_otherwise(monkeypatch):
    model, other = counted(Heads(1), 1000), counted(Heads(1), 0)
    start(monkeypatch, model, other, ("nucleus",), ("cell",))
    torch.testing.assert_close(model.fc_reg.weight, other.fc_reg.weight)
    torch.testing.assert_close(model.conv_logits.weight, other.conv_logits.weight)
    assert model.fc_cls.bias.tolist() == [1000, 1]  # the class and the background


def test_rows_of_both_heads_of_point_rend_follow_the_classes(monkeypatch):
    model, other = Heads(2), Heads(2)
    for one, first in ((model, 1000), (other, 0)):
        one.mask = nn.Module()
        one.mask.fc_logits = nn.Linear(2, 2 * 49)
        one.point = nn.Module()
        one.point.fc_logits = nn.Conv1d(2, 2, 1)
        counted(one, first)
    start(monkeypatch, model, other, ("b", "a"), ("a", "b"))
    assert model.mask.fc_logits.bias.tolist() == [*range(49, 98), *range(49)]
    assert model.point.fc_logits.bias.tolist() == [1, 0]


@pytest.mark.parametrize(("names", "known"), [("cab", "abc"), ("xbay", "ba")])
def test_the_points_head_knows_the_coarse_scores_by_their_classes(monkeypatch, names, known):
    """Scores in another order go in and come out, those of classes that it did not know are 0."""

    def head(classes: int) -> nn.Module:
        config = load_config(str(CONFIGS / "tiny_point_rend.py")).model.to_dict()
        set_num_classes(config, classes)
        return build_model(config)

    model, other = head(len(names)), head(3)
    start(monkeypatch, model, other, tuple(names), tuple("abc"))
    features, coarse = torch.rand(2, 32, 5), torch.rand(2, 3, 5)
    ours = torch.zeros(2, len(names), 5)
    for name in known:
        ours[:, names.index(name)] = coarse[:, "abc".index(name)]
    coarse[:, ["abc".index(name) for name in "abc" if name not in known]] = 0
    expected = other.roi_head.point_head(features, coarse)
    found = model.roi_head.point_head(features, ours)
    for name in known:
        torch.testing.assert_close(found[:, names.index(name)], expected[:, "abc".index(name)])
