"""Making a trained detector fast for inference; its answers change by rounding only.

Norms are folded into convolutions, weights lie channels_last and in the precision to compute in,
and what mmdet and mmcv do slowly is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.cnn import fuse_conv_bn
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from torch import nn
from torch.nn.utils import fuse_conv_bn_weights

from network.models import box_and_mask_heads, convolutional_parts, to_float32

BATCH_NORMS = nn.BatchNorm2d, nn.SyncBatchNorm


def accelerate(model: nn.Module, dtype: torch.dtype, compile: bool = False) -> None:
    """Prepare a detector for inference, in place; it cannot be trained afterwards.

    Args:
        model: mmdet two-stage detector in evaluation mode, on its device.
        dtype: what backbone, neck and heads compute in. The heads answer in float32, and so does
            all arithmetic on boxes: coordinates need the precision.
        compile: translate the backbone to machine code when it sees the first image of a size.
    """
    fold_norms(model)
    model.requires_grad_(False)
    if compile:
        model.backbone.forward = torch.compile(model.backbone.forward, dynamic=False)
    for part in convolutional_parts(model):
        part.to(dtype=dtype, memory_format=torch.channels_last)
        part.forward = partial(_in_dtype, part.forward, dtype)
    for head in (model.rpn_head, *box_and_mask_heads(model)):
        head.forward = partial(_answer_float32, head.forward)


def fold_norms(model: nn.Module) -> None:
    """Merge batch norms with their running statistics into the convolutions before them."""
    fuse_conv_bn(model)
    for module in model.modules():
        # mmcv's search does not see deformable convolutions
        if isinstance(module, SplitAttentionConv2d) and isinstance(module.norm0, BATCH_NORMS):
            conv, norm = module.conv, module.norm0
            conv.weight, conv.bias = fuse_conv_bn_weights(
                *(conv.weight, conv.bias, norm.running_mean, norm.running_var),
                *(norm.eps, norm.weight, norm.bias),
            )
            setattr(module, module.norm0_name, nn.Identity())


def _in_dtype(forward: Callable, dtype: torch.dtype, *values: torch.Tensor | Sequence):
    return forward(*(_to_dtype(value, dtype) for value in values))


def _to_dtype(value: torch.Tensor | Sequence, dtype: torch.dtype):
    """Feature maps channels_last; a list of them, and features of points, too."""
    if not isinstance(value, torch.Tensor):
        return [_to_dtype(item, dtype) for item in value]
    layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
    return value.to(dtype=dtype, memory_format=layout)


def _answer_float32(forward: Callable, *values: torch.Tensor | Sequence):
    return to_float32(forward(*values))
