"""Swin's attention within windows, in any precision."""

from __future__ import annotations

import torch
from mmdet.models.backbones.swin import WindowMSA
from torch.nn import functional as F


def window_attention(
    module: WindowMSA, x: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """`forward` of mmdet's attention, which adds a float32 mask whatever the precision.

    Args:
        module: knows the weights.
        x: [images * W, N, C], the N cells of each of W windows.
        mask: float32 [W, N, N], added to the attention, where cells do not see each other.

    Returns:
        [images * W, N, C].
    """
    count, cells, channels = x.shape
    q, k, v = module.qkv(x).view(count, cells, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
    table = module.relative_position_bias_table[module.relative_position_index.flatten()]
    bias = table.view(1, cells, cells, -1).permute(0, 3, 1, 2)
    if mask is not None:
        bias = (bias + mask[:, None]).repeat(count // len(mask), 1, 1, 1)
    dropout = module.attn_drop.p if module.training else 0.0
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=bias.to(q.dtype), dropout_p=dropout, scale=module.scale
    )
    return module.proj_drop(module.proj(out.transpose(1, 2).reshape(count, cells, channels)))
