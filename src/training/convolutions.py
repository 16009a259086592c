"""Convolutions whose gradients are quick on a CPU."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from training.depthwise import convolve_depthwise, is_depthwise

LARGE_MAP = 96 * 96  # pixels; up to 64 x 64 there is nothing to gain


def use_quick_gradients(model: nn.Module, dtype: torch.dtype) -> None:
    """Let convolutions that oneDNN learns slowly calculate their gradients otherwise; in place.

    These are depthwise ones, see `depthwise.py`, and in float32 those of 3 x 3 on large maps: on a
    CPU without AVX-512 (torch 2.11), the gradient of the weights between 96 channels, of two maps
    of 128 x 128 pixels, takes 600 ms in channels_last memory, and 120 ms in contiguous memory.

    Args:
        model: on a CPU.
        dtype: what it computes in.
    """
    for module in model.modules():
        if type(module) is not nn.Conv2d or module.padding_mode != "zeros":
            continue
        if is_depthwise(module):
            module.forward = partial(convolve_depthwise, module)
        elif dtype == torch.float32 and module.kernel_size == (3, 3) and module.groups == 1:
            module.forward = partial(_convolve, module)


def _convolve(module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    shape = module.stride, module.padding, module.dilation
    if torch.is_grad_enabled() and x.shape[-2] * x.shape[-1] > LARGE_MAP:
        return _QuickConvolution.apply(x, module.weight, module.bias, *shape)
    return F.conv2d(x, module.weight, module.bias, *shape)


class _QuickConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, *shape) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        ctx.shape = shape
        return F.conv2d(x, weight, bias, *shape)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        x, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad[:3]

        def gradients(*tensors, wanted):
            settings = (ctx.bias_sizes, *ctx.shape, False, [0, 0], 1, wanted)
            return torch.ops.aten.convolution_backward(*tensors, *settings)

        to_input, _, _ = gradients(gradient, x, weight, wanted=[of_input, False, False])
        contiguous = (tensor.contiguous() for tensor in (gradient, x, weight))
        _, to_weight, to_bias = gradients(*contiguous, wanted=[False, of_weight, of_bias])
        return to_input, to_weight, to_bias, None, None, None
