"""Modules that mmdet lacks, registered under their names for use in configs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.core.bbox.iou_calculators import BboxOverlaps2D
from mmdet.core.bbox.iou_calculators.builder import IOU_CALCULATORS
from mmdet.models import HEADS
from mmdet.models.dense_heads import RPNHead


@HEADS.register_module()
class FinestTwiceRPNHead(RPNHead):
    """RPN that sees the finest feature map twice, each time with anchors of another size.

    The anchor generator has one more level than the neck has outputs.
    """

    def forward(self, feats: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], ...]:
        return super().forward((feats[0], *feats))


@IOU_CALCULATORS.register_module()
class BlockedBboxOverlaps2D(BboxOverlaps2D):
    """mmdet's box IoU with temporaries that fit into the cache of a CPU.

    Matching 65,000 anchors to 150 cells the plain way writes ten arrays of 40 MB, which takes
    longer than the backbone of a slim model.
    """

    BLOCK = 2**16  # pairs at a time

    def __call__(self, bboxes1, bboxes2, mode="iou", is_aligned=False):
        """IoU of every pair, float [N, M]; the other modes are mmdet's own."""
        if mode != "iou" or is_aligned or bboxes1.is_cuda:
            return super().__call__(bboxes1, bboxes2, mode, is_aligned)
        x1, y1, x2, y2 = bboxes2[:, :4].t().contiguous()
        area = (x2 - x1) * (y2 - y1)
        iou = bboxes1.new_empty(len(bboxes1), len(bboxes2))
        step = max(1, self.BLOCK // max(1, len(bboxes2)))
        for boxes, out in zip(bboxes1.split(step), iou.split(step), strict=True):
            left, top, right, bottom = (column[:, None] for column in boxes[:, :4].unbind(1))
            torch.minimum(right, x2, out=out).sub_(torch.maximum(left, x1)).clamp_(min=0)
            height = torch.minimum(bottom, y2).sub_(torch.maximum(top, y1)).clamp_(min=0)
            intersection = out.mul_(height)
            union = ((right - left) * (bottom - top) + area).sub_(intersection)
            intersection.div_(union.clamp_(min=1e-6))
        return iou
