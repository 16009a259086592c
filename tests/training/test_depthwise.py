"""The depthwise convolution for training: the plain one's results and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from training.convolutions import use_quick_gradients

SHAPES = [(3, 1), (5, 1), (7, 1), (3, 2), (5, 2), (7, 2)]  # kernel, stride


@pytest.mark.parametrize("kernel, stride", SHAPES)
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("dtype, share", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_results_and_gradients_are_those_of_the_plain_convolution(
    kernel, stride, padding, dtype, share
):
    ours, plain = convolutions(8, kernel, stride, padding)
    image = torch.randn(2, 8, 11, 14)
    result, expected = run(ours, image, dtype), run(plain, image, torch.float32)
    assert result["output"].dtype == dtype
    assert result["image"].dtype == result["weight"].dtype == torch.float32
    for name, value in result.items():
        tolerance = share * expected[name].abs().max().item()
        torch.testing.assert_close(value.float(), expected[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "settings", [dict(groups=2), dict(bias=True), dict(dilation=2), dict(padding_mode="reflect")]
)
def test_others_are_left_to_torch(settings):
    convolution = nn.Conv2d(8, 8, 5, **{"groups": 8, "bias": False, **settings})
    use_quick_gradients(convolution, torch.float32)
    assert "forward" not in vars(convolution)


def test_frozen_weights_and_inputs_without_gradient():
    ours, plain = convolutions(8, 5, 1, 2)
    ours.requires_grad_(False)
    image = torch.randn(1, 8, 6, 6, requires_grad=True)
    ours(image).sum().backward()
    assert ours.weight.grad is None
    assert image.grad is not None
    ours.requires_grad_(True)
    ours(image.detach()).sum().backward()
    plain(image.detach()).sum().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


def convolutions(
    channels: int, kernel: int, stride: int, padding: int
) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Ours and the plain one, with the same random weights."""
    torch.manual_seed(0)
    settings = dict(groups=channels, bias=False)
    plain = nn.Conv2d(channels, channels, kernel, stride, padding, **settings)
    plain.to(memory_format=torch.channels_last)
    ours = copy.deepcopy(plain)
    use_quick_gradients(ours, torch.float32)
    return ours, plain


def run(module: nn.Conv2d, image: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Output and gradients; in bfloat16 under autocast, as in training."""
    image = image.to(memory_format=torch.channels_last).clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = module(image)
    towards = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
    output.backward(towards.to(output.dtype))
    return dict(output=output.detach(), image=image.grad, weight=module.weight.grad)
