"""Which boxes training rewards, punishes or leaves alone; registered for use in configs."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmdet.core.bbox.assigners import AssignResult, MaxIoUAssigner
from mmdet.core.bbox.builder import BBOX_ASSIGNERS


@BBOX_ASSIGNERS.register_module()
class SparingAssigner(MaxIoUAssigner):
    """mmdet's assigner, in which a crowd region spares negatives and takes no positives away.

    A crowd region stands for a cell that may be there, as a rectangle. mmdet drops every box that
    lies in it, those of certain cells included, and nothing where an image has no certain cell.
    Here certain cells get their boxes first. A box that would then count as background is left
    alone when more than `ignore_iof_thr` of it lies in a crowd region, or when it overlaps one by
    an IoU of `neg_iou_thr`, from which on a certain cell would not have made it background.
    """

    def assign(
        self,
        bboxes: torch.Tensor,
        gt_bboxes: torch.Tensor,
        gt_bboxes_ignore: torch.Tensor | None = None,
        gt_labels: torch.Tensor | None = None,
    ) -> AssignResult:
        """Assign boxes [N, 4] to cells [K, 4]: -1 left alone, 0 background, i + 1 for cell i."""
        result = super().assign(bboxes, gt_bboxes, None, gt_labels)
        if gt_bboxes_ignore is None or not len(gt_bboxes_ignore) or not len(bboxes):
            return result
        inside = self.iou_calculator(bboxes, gt_bboxes_ignore, mode="iof").amax(dim=1)
        overlap = self.iou_calculator(bboxes, gt_bboxes_ignore).amax(dim=1)
        spared = (inside > self.ignore_iof_thr) | (overlap >= self.neg_iou_thr)
        result.gt_inds[spared & (result.gt_inds == 0)] = -1
        return result
