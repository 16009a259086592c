"""Depthwise convolution whose gradients are quick on a CPU."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

QUICK_WIDTH = 3  # of a depthwise kernel: the gradient of a wider one is slow


def is_depthwise(module: nn.Conv2d) -> bool:
    """Whether `convolve_depthwise` can take the module's place."""
    depthwise = module.groups == module.in_channels == module.out_channels
    return depthwise and module.bias is None and module.dilation == (1, 1)


def convolve_depthwise(module: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Convolve [N, C, H, W]; the result has the dtype that any convolution here gives."""
    return _Depthwise.apply(x, module.weight, module.stride, module.padding)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution, with oneDNN's slow gradients (torch 2.11) calculated in another way.

    Of two maps of 720 channels, 32 x 32 pixels, the gradient of weights of 5 x 5 takes 14 ms in
    float32 and 47 ms in bfloat16; of 5 x 3, 0.7 and 0.6 ms. So wide kernels are put together of
    narrow ones. With a stride of 2, that of the input takes 0.4 ms in float32, 46 ms in bfloat16.
    """

    @staticmethod
    def forward(ctx, x, weight, stride, padding) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        x, weight = ctx.saved_tensors
        of_input, of_weight, *_ = ctx.needs_input_grad  # autograd gives them their dtypes
        to_input = _input_gradient(gradient, x, weight, *ctx.shape) if of_input else None
        to_weight = _weight_gradient(gradient, x, weight, *ctx.shape) if of_weight else None
        return to_input, to_weight, None, None


def _input_gradient(gradient, x, weight, stride, padding) -> torch.Tensor:
    dtype = gradient.dtype if stride == (1, 1) else torch.float32
    operands = (tensor.to(dtype) for tensor in (gradient, x, weight))
    return _gradients(*operands, stride, padding, [True, False, False])[0]


def _weight_gradient(gradient, x, weight, stride, padding) -> torch.Tensor:
    rows, columns = padding
    width = weight.shape[3]
    x, kernel = x.to(gradient.dtype), weight.to(gradient.dtype)
    if width <= QUICK_WIDTH:
        return _gradients(gradient, x, kernel, stride, padding, [False, True, False])[1]
    parts = []
    for first in range(0, width, QUICK_WIDTH):
        last = min(first + QUICK_WIDTH, width)
        seen = F.pad(x, (columns - first, columns - width + last))
        part = gradient, seen, kernel[..., first:last], stride, (rows, 0)
        parts.append(_gradients(*part, [False, True, False])[1])
    return torch.cat(parts, dim=3)


def _gradients(gradient, x, weight, stride, padding, wanted: list[bool]):
    """Gradients of input, weights and bias; those that are not `wanted` are None."""
    settings = None, stride, padding, (1, 1), False, (0, 0), len(weight)
    return torch.ops.aten.convolution_backward(gradient, x, weight, *settings, wanted)
