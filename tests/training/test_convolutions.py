"""Quick gradients of convolutions are those of torch."""

import network.operators  # noqa: F401  (before mmdet)

import pytest
import torch
from helpers import CONFIGS
from torch import nn

from network.models import build_model
from training.config import load_config
from training.convolutions import LARGE_MAP, use_quick_gradients
from training.runner import TrainingModel

LARGE = int(LARGE_MAP**0.5) + 4


@pytest.mark.parametrize("size", [(LARGE, LARGE), (8, 8)], ids=["large", "small"])
@pytest.mark.parametrize(
    "settings", [dict(padding=1), dict(padding=1, stride=2, bias=False)], ids=str
)
def test_same_result_and_gradients(size, settings):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3, **settings).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, *size).contiguous(memory_format=torch.channels_last).requires_grad_()
    inputs = (x, *convolution.parameters())

    expected = convolution(x)
    weights = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), inputs)
    use_quick_gradients(nn.Sequential(convolution), torch.float32)
    result = convolution(x)
    gradients = torch.autograd.grad((result * weights).sum(), inputs)

    torch.testing.assert_close(result, expected)
    for value, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-3)


def test_weights_of_large_maps_get_contiguous_gradients():
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    use_quick_gradients(convolution, torch.float32)

    assert "QuickConvolution" in type(convolution(torch.zeros(1, 3, LARGE, LARGE)).grad_fn).__name__
    assert "QuickConvolution" not in type(convolution(torch.zeros(1, 3, 8, 8)).grad_fn).__name__


def test_frozen_input_and_weights():
    convolution = nn.Conv2d(3, 4, 3, padding=1)
    use_quick_gradients(convolution, torch.float32)
    convolution.weight.requires_grad_(False)
    convolution(torch.ones(1, 3, LARGE, LARGE)).sum().backward()

    assert convolution.weight.grad is None
    torch.testing.assert_close(convolution.bias.grad, torch.full((4,), float(LARGE**2)))


@pytest.mark.parametrize(
    "module",
    [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=2), nn.ConvTranspose2d(4, 4, 3)],
    ids=["1 x 1", "grouped", "transposed"],
)
def test_other_convolutions_stay_as_they_are(module):
    use_quick_gradients(module, torch.float32)

    assert "forward" not in vars(module)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_on_a_cpu_uses_them(dtype):
    detector = build_model(load_config(str(CONFIGS / "tiny_resnest.py")).model.to_dict())
    detector.depthwise = nn.Conv2d(4, 4, 5, groups=4, bias=False)
    TrainingModel(detector, torch.device("cpu"), dtype)

    assert "forward" in vars(detector.depthwise)
    assert ("forward" in vars(detector.rpn_head.rpn_conv)) == (dtype == torch.float32)
