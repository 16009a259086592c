"""PointRend's heads for images without cells, masks as crops, and features of lower precision."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.ops.point_sample import rel_roi_point_to_abs_img_point
from mmdet.core.bbox.samplers import SamplingResult
from mmdet.models import HEADS
from mmdet.models.roi_heads import PointRendRoIHead
from mmdet.models.roi_heads.mask_heads import MaskPointHead


@HEADS.register_module()
class CellPointRendRoIHead(PointRendRoIHead):
    """mmdet's, which cannot train on a batch without cells nor sample features in bfloat16."""

    def _mask_forward_train(
        self, x, sampling_results: list[SamplingResult], bbox_feats, gt_masks, img_metas
    ) -> dict:
        if any(len(result.pos_bboxes) for result in sampling_results):
            maps = [level.float() for level in x[: self.mask_roi_extractor.num_inputs]]
            return super()._mask_forward_train(
                maps, sampling_results, bbox_feats, gt_masks, img_metas
            )
        # the same losses as always, and a gradient for each parameter: processes wait for them
        heads = {"loss_mask": self.mask_head, "loss_point": self.point_head}
        nothing = {
            name: 0 * torch.stack([parameter.sum() for parameter in head.parameters()]).sum()
            for name, head in heads.items()
        }
        return dict(loss_mask=nothing)


@HEADS.register_module()
class CropMaskPointHead(MaskPointHead):
    """mmdet's, whose targets are read from `CropMasks` in place of a full frame for each box.

    With 256 boxes in an image of 1024 x 1386 the frames would take 1.5 GB.
    """

    def _get_target_single(self, rois, rel_roi_points, pos_assigned_gt_inds, gt_masks, cfg):
        points = rel_roi_point_to_abs_img_point(rois, rel_roi_points)
        targets = gt_masks.sample(points.cpu().numpy(), pos_assigned_gt_inds.cpu().numpy())
        return torch.from_numpy(targets).to(rois)
