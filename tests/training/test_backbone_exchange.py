"""Another backbone behind trained heads: what is taken over, what is fitted, and its norms."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from training.backbone_exchange import (
    NORM_BATCHES,
    fit_features,
    settle_norms,
    take_heads,
    unexplained,
)
from utils.script import InputError


class Detector(nn.Module):
    """A backbone of any width, a neck and a head."""

    def __init__(self, width: int, channels: int = 4, classes: int = 2) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.neck = nn.Conv2d(width, channels, 1)
        self.head = nn.Conv2d(channels, classes, 1)

    def extract_feat(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.neck(self.backbone(images).relu())]


def images(mean: float = 0.0):
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(2, 3, 8, 8, generator=generator) + mean


def test_heads_are_taken_and_the_backbone_is_not():
    model, other = Detector(8), Detector(5)
    before = model.backbone[0].weight.clone(), model.neck.weight.clone()
    take_heads(model, other.state_dict())
    assert torch.equal(model.head.weight, other.head.weight)
    assert torch.equal(model.neck.bias, other.neck.bias)
    assert torch.equal(model.backbone[0].weight, before[0])
    assert torch.equal(model.neck.weight, before[1])  # for maps of as many channels


def test_a_backbone_of_the_same_width_is_another_one_too():
    model, other = Detector(5), Detector(5)
    take_heads(model, other.state_dict())
    assert not torch.equal(model.backbone[0].weight, other.backbone[0].weight)


@pytest.mark.parametrize("change", [dict(classes=3), dict(channels=6)])
def test_other_heads_end_in_one_line(change):
    with pytest.raises(InputError, match=r"its heads differ from those of --weights \(head\."):
        take_heads(Detector(8), Detector(8, **change).state_dict())


def test_heads_that_one_of_them_lacks_end_in_one_line():
    weights = Detector(8).state_dict()
    with pytest.raises(InputError, match=r"\(mask\.weight\)"):
        take_heads(Detector(8), {**weights, "mask.weight": torch.zeros(1)})
    del weights["head.bias"]
    with pytest.raises(InputError, match=r"\(head\.bias\)"):
        take_heads(Detector(8), weights)


def test_the_unexplained_share_is_relative_to_each_level_s_variance():
    wanted = [torch.tensor([[[[-1.0, 1.0]]]]), torch.tensor([[[[-10.0, 10.0]]]])]
    assert unexplained(wanted, wanted) == 0
    variances = [2.0, 200.0]  # with one degree of freedom
    maps = [wanted[0], torch.zeros(1, 1, 1, 2)]
    assert unexplained(maps, wanted) == pytest.approx(100 / variances[1] / 2)
    maps = [torch.zeros(1, 1, 1, 2), wanted[1]]
    assert unexplained(maps, wanted) == pytest.approx(1 / variances[0] / 2)
    assert torch.isfinite(unexplained([torch.ones(1, 1, 2, 2)], [torch.zeros(1, 1, 2, 2)]))


def test_maps_of_other_sizes_end_in_one_line():
    with pytest.raises(InputError, match=r"\[\(6, 8, 8\)\], those of --weights \[\(4, 8, 8\)\]"):
        fit_features(Detector(8, channels=6), Detector(5), images(), 3)


def test_features_are_fitted_and_nothing_else_changes(capsys):
    torch.manual_seed(0)
    student, teacher = Detector(8), Detector(5)
    take_heads(student, teacher.state_dict())
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    short = fit_features(student, teacher, images(), 1)
    long = fit_features(student, teacher, images(), 300)
    assert long < short / 2
    assert long < 0.2
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert torch.equal(student.head.weight, teacher.head.weight)
    assert "fitting features: 100%" in capsys.readouterr().err


def test_norms_get_the_plain_mean_over_the_batches():
    student = Detector(8)
    norm = student.backbone[1]
    settle_norms(student, images(mean=3.0))
    with torch.no_grad():
        maps = [student.backbone[0](x) for x in itertools.islice(images(mean=3.0), NORM_BATCHES)]
    expected = torch.stack(maps).mean(dim=(0, 1, 3, 4))
    torch.testing.assert_close(norm.running_mean, expected)
    assert norm.momentum == nn.BatchNorm2d(1).momentum
    assert not student.training


def test_norms_of_frozen_layers_keep_their_statistics():
    student = Detector(8)
    norm = student.backbone[1].requires_grad_(False)
    norm.running_mean.fill_(5.0)
    fit_features(student, Detector(5), images(), 1)
    settle_norms(student, images())
    assert norm.running_mean.tolist() == [5.0] * 8
