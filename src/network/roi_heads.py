"""The cascade of the solution: several box heads, one mask head, and its mask loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.runner import ModuleList
from mmdet.core.bbox.samplers import SamplingResult
from mmdet.models import HEADS, LOSSES, build_head, build_roi_extractor
from mmdet.models.losses import CrossEntropyLoss
from mmdet.models.roi_heads import CascadeRoIHead
from torch import nn


@HEADS.register_module()
class OneMaskHeadCascadeRoIHead(CascadeRoIHead):
    """Cascade of box heads with one mask head.

    As in Detectron2, each of the N stages sends an N-th of its gradient into the shared features
    (Cai and Vasconcelos 2018, "Cascade R-CNN", leave this open).

    Args:
        mask_stage: stage whose regions the mask head learns from; Detectron2's is the first.
        mask_samples: most regions of an image that the mask head learns from; default all that are
            positive. A mask costs a hundred times as much as a box.
    """

    def __init__(
        self, *args, mask_stage: int = 0, mask_samples: int | None = None, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.mask_stage = mask_stage
        self.mask_samples = mask_samples

    def init_bbox_head(self, bbox_roi_extractor: dict, bbox_head: dict | list) -> None:
        super().init_bbox_head(bbox_roi_extractor, bbox_head)
        for extractor in self.bbox_roi_extractor:
            extractor.register_forward_hook(partial(_divide_gradient, self.num_stages))

    def init_mask_head(self, mask_roi_extractor: dict, mask_head: dict) -> None:
        self.share_roi_extractor = False
        self.mask_roi_extractor = ModuleList([build_roi_extractor(mask_roi_extractor)])
        self.mask_head = ModuleList([build_head(mask_head)])

    def forward_train(self, x, *args, **kwargs) -> dict:
        """mmdet's losses; 0 those of the stages that it leaves out where no region is left."""
        losses = super().forward_train(x, *args, **kwargs)
        for stage in range(self.num_stages):
            if f"s{stage}.loss_cls" not in losses:
                zeros = self._losses_of_no_region(stage, x)
                losses.update({f"s{stage}.{name}": value for name, value in zeros.items()})
        return losses

    def _losses_of_no_region(self, stage: int, x: Sequence[torch.Tensor]) -> dict:
        nothing = x[0].new_zeros(0, 5)
        boxes = self._bbox_forward(stage, x, nothing)
        targets = nothing[:, 0].long(), nothing[:, 0], nothing[:, 1:], nothing[:, 1:]
        losses = self.bbox_head[stage].loss(
            boxes["cls_score"], boxes["bbox_pred"], nothing, *targets
        )
        if stage == self.mask_stage:
            losses["loss_mask"] = self._mask_forward(0, x, nothing)["mask_pred"].sum()
        return losses

    def _mask_forward_train(self, stage, x, sampling_results, *args, **kwargs) -> dict:
        if stage != self.mask_stage:
            return dict(loss_mask={})
        if self.mask_samples is not None:
            sampling_results = [
                _fewer_positives(result, self.mask_samples) for result in sampling_results
            ]
        return super()._mask_forward_train(0, x, sampling_results, *args, **kwargs)


def _divide_gradient(
    stages: int, _extractor: nn.Module, _inputs: tuple, pooled: torch.Tensor
) -> None:
    if pooled.requires_grad:
        pooled.register_hook(lambda gradient: gradient / stages)


def _fewer_positives(result: SamplingResult, most: int) -> SamplingResult:
    """The same regions with at most `most` positive ones, drawn at random."""
    if len(result.pos_bboxes) <= most:
        return result
    drawn = torch.randperm(len(result.pos_bboxes), device=result.pos_bboxes.device)[:most]
    fewer = copy.copy(result)
    for name in ("pos_bboxes", "pos_assigned_gt_inds", "pos_gt_labels"):  # a mask's target
        setattr(fewer, name, getattr(result, name)[drawn])
    return fewer


@LOSSES.register_module()
class CrossEntropyDiceLoss(CrossEntropyLoss):
    """Cross-entropy of the pixels plus Dice of each mask, which weighs small masks as large ones.

    Milletari et al. 2016, "V-Net": 1 - 2 |A B| / (|A|^2 + |B|^2), for soft masks, too.

    Args:
        dice_weight: factor on Dice, whose mean over the masks is added.
    """

    def __init__(self, dice_weight: float = 1.0, **kwargs) -> None:
        super().__init__(use_mask=True, **kwargs)
        self.dice_weight = dice_weight

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, label: torch.Tensor, **kwargs
    ) -> torch.Tensor:
        """Loss of N masks.

        Args:
            pred: logits [N, classes or 1, H, W].
            target: float [N, H, W], 0 to 1.
            label: int64 [N], the channel of each mask.
        """
        own = pred[torch.arange(len(pred), device=pred.device), label].sigmoid().flatten(1)
        truth = target.flatten(1)
        shared = (own * truth).sum(dim=1)
        total = own.square().sum(dim=1) + truth.square().sum(dim=1)
        dice = 1 - 2 * shared / total.clamp(min=1e-3)
        return super().forward(pred, target, label, **kwargs) + self.dice_weight * dice.mean()
