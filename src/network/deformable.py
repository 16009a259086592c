"""Deformable convolution v2 that is quick on CPUs, too, and in any precision.

Zhu et al. 2019, "Deformable ConvNets v2": each tap of the kernel reads the image at a learned
offset, weighted by a learned mask. That is a bilinear gather followed by a matrix product.
"""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.cnn import CONV_LAYERS
from mmcv.ops import ModulatedDeformConv2dPack
from torch import nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

CHUNK = 2**12  # output pixels at a time: what they gather should fit into the cache


@CONV_LAYERS.register_module()
class PortableDCNv2(ModulatedDeformConv2dPack):
    """mmcv's DCNv2 with the same weights; without gradients on a CPU it computes by `gather_conv`.

    torchvision's operator, for GPUs and for training, runs on one core of a CPU, 15 times slower,
    and knows no bfloat16.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve [N, C, H, W] at the offsets that `conv_offset` sees in it."""
        fields = self.conv_offset(x)
        shape = self.stride, self.padding, self.dilation
        if x.is_cuda or torch.is_grad_enabled() or self.groups != self.deform_groups:
            points = 2 * self.deform_groups * self.weight[0, 0].numel()
            offset, mask = fields.float()[:, :points], fields.float()[:, points:].sigmoid()
            bias = None if self.bias is None else self.bias.float()
            out = deform_conv2d(x.float(), offset, self.weight.float(), bias, *shape, mask)
            return out.to(x.dtype)
        return gather_conv(x, fields, self.weight, self.bias, *shape, self.groups)

    def _load_from_state_dict(self, *args) -> None:
        # mmcv's own renames keys of old checkpoints and announces it for every layer
        nn.Module._load_from_state_dict(self, *args)


@torch.compiler.disable  # its loop over pieces of the image would be unrolled
def gather_conv(
    x: torch.Tensor,
    offsets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> torch.Tensor:
    """Modulated deformable convolution with as many deformable groups as convolution groups.

    Args:
        x: [N, C, H, W].
        offsets: [N, groups * 3 * kh * kw, h, w] as `conv_offset` answers: (dy, dx) of each group
            and tap in input pixels, then the logit of the mask of each group and tap.
        weight: [O, C / groups, kh, kw].
        bias: [O] or None.
        stride, padding, dilation: (vertical, horizontal), as in a convolution.
        groups: how many parts of the channels are convolved apart, each with its own offsets.

    Returns:
        [N, O, h, w] in channels_last layout, in the dtype of `offsets`.
    """
    kernel = weight.shape[2:]
    taps = kernel[0] * kernel[1]
    dtype = offsets.dtype
    # [groups, taps * C / groups, O / groups]
    matrices = weight.to(dtype).unflatten(0, (groups, -1)).permute(0, 3, 4, 2, 1).flatten(1, 3)
    height, width = offsets.shape[2:]
    out = torch.empty(len(x), height * width, groups, matrices.shape[2], dtype=dtype)
    origins = _tap_origins((height, width), kernel, stride, padding, dilation)
    for image, image_offsets, image_out in zip(x, offsets, out, strict=True):
        table, size = _gather_table(image.to(dtype), groups)
        # [pixels, channels]; a view where the offsets lie channels_last
        fields = image_offsets.permute(1, 2, 0).flatten(0, 1)
        for part in range(0, len(fields), CHUNK):
            chunk = slice(part, part + CHUNK)
            rows, weights = _bilinear(fields[chunk], origins[chunk], size, groups, taps)
            gathered = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
            columns = gathered.view(groups, -1, matrices.shape[1])
            image_out[chunk] = torch.bmm(columns, matrices).transpose(0, 1)
    out = out.flatten(2)
    if bias is not None:
        out += bias.to(dtype)
    return out.transpose(1, 2).unflatten(2, (height, width))


def _tap_origins(size, kernel, stride, padding, dilation) -> torch.Tensor:
    """Where each tap of each output pixel reads without an offset, float32 [pixels, taps, 2]."""
    axes = [
        torch.arange(size[i])[:, None] * stride[i]
        - padding[i]
        + torch.arange(kernel[i]) * dilation[i]
        for i in range(2)
    ]
    y = axes[0][:, None, :, None].expand(*size, *kernel)
    x = axes[1][None, :, None, :].expand(*size, *kernel)
    return torch.stack([y, x], dim=-1).float().flatten(0, 1).flatten(1, 2)


def _gather_table(image: torch.Tensor, groups: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Rows to gather, [(H + 3) * (W + 3) * groups, C / groups], and the image's (H, W).

    A margin of zeros (one pixel before, two behind) stands for what lies outside the image.
    """
    size = tuple(image.shape[1:])
    padded = F.pad(image.permute(1, 2, 0), (0, 0, 1, 2, 1, 2))
    return padded.reshape(-1, image.shape[0] // groups), size


def _bilinear(
    fields: torch.Tensor, origins: torch.Tensor, size: tuple[int, int], groups: int, taps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the table and their weights for bilinear interpolation.

    Args:
        fields: [P, groups * 3 * taps], offsets and mask logits of P output pixels.
        origins: float32 [P, taps, 2].
        size: (H, W) of the image.

    Returns:
        int32 and `fields`' dtype, both [groups * P * taps, 4]: the four neighbours of each point.
    """
    height, width = size
    offsets, mask = fields.split([2 * groups * taps, groups * taps], dim=1)
    mask = mask.float().sigmoid().unflatten(1, (groups, taps)).transpose(0, 1).contiguous()
    offsets = offsets.unflatten(1, (groups, taps, 2)).transpose(0, 1)
    # [groups, P, taps]; beyond the margin all is zero, as it is on the margin
    y, x = (torch.add(offsets[..., i], origins[..., i], out=torch.empty_like(mask)) for i in (0, 1))
    y.clamp_(-1, height)
    x.clamp_(-1, width)
    top, left = y.floor(), x.floor()
    y -= top
    x -= left
    stride = width + 3
    first = (top + 1).mul_(stride).add_(left + 1).int().mul_(groups)
    first += torch.arange(groups, dtype=torch.int32)[:, None, None]
    steps = torch.tensor([0, 1, stride, stride + 1], dtype=torch.int32) * groups
    lower = y.mul_(mask)
    upper = mask.sub_(lower)
    lower_right, upper_right = lower * x, x.mul_(upper)
    upper_left, lower_left = upper.sub_(upper_right), lower.sub_(lower_right)
    weights = torch.stack([upper_left, upper_right, lower_left, lower_right], dim=-1)
    rows = first[..., None] + steps
    return rows.view(-1, 4), weights.to(fields.dtype).view(-1, 4)
