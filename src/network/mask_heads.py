"""Mask probabilities of given boxes, by the rule of each kind of RoI head.

A kind of head that makes masks in another way registers a rule of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.runner import BaseModule
from mmdet.models.roi_heads import CascadeRoIHead, PointRendRoIHead, StandardRoIHead

POINT_CHUNK = 32  # boxes whose points are refined at a time; bounds the memory


@singledispatch
def mask_probabilities(
    roi_head: BaseModule, maps: Sequence[torch.Tensor], rois: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Run the mask head on boxes of one image.

    Args:
        roi_head: of an mmdet two-stage detector in evaluation mode.
        maps: feature maps, each [1, channels, height, width].
        rois: float32 [N, 5], 0 and x1 y1 x2 y2 in network input pixels.
        labels: int64 [N], which class's mask to take.

    Returns:
        float32 [N, S, S], probability of foreground on a grid over each box.
    """
    raise NotImplementedError(f"{type(roi_head).__name__}: no rule for its masks")


@mask_probabilities.register(StandardRoIHead)
def _standard(roi_head, maps, rois, labels):
    return _of_class(roi_head._mask_forward(maps, rois)["mask_pred"].sigmoid(), labels)


@mask_probabilities.register(CascadeRoIHead)
def _cascade(roi_head, maps, rois, labels):
    """Mean over the stages."""
    stages = [roi_head._mask_forward(i, maps, rois) for i in range(len(roi_head.mask_head))]
    mean = torch.stack([stage["mask_pred"].sigmoid() for stage in stages]).mean(dim=0)
    return _of_class(mean, labels)


@mask_probabilities.register(PointRendRoIHead)
def _point_rend(roi_head, maps, rois, labels):
    """A coarse mask, enlarged step by step; its uncertain points are decided one by one."""
    maps = [level.float() for level in maps[: roi_head.mask_roi_extractor.num_inputs]]
    parts = []
    for chunk, classes in zip(rois.split(POINT_CHUNK), labels.split(POINT_CHUNK), strict=True):
        coarse = roi_head._mask_forward(maps, chunk)["mask_pred"]
        # only the number of the images' descriptions matters
        fine = roi_head._mask_point_forward_test(maps, chunk, classes, coarse, [None])
        parts.append(_of_class(fine.sigmoid(), classes))
    return torch.cat(parts)


def _of_class(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """[N, S, S] out of [N, classes or 1, S, S]."""
    channels = probabilities.shape[1]
    chosen = labels if channels > 1 else torch.zeros_like(labels)  # 1: class-agnostic
    return probabilities[torch.arange(len(labels), device=labels.device), chosen]
