"""Modules that mmdet lacks, registered under their names for use in configs, and quicker ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmdet.core.bbox.builder import BBOX_CODERS
from mmdet.core.bbox.coder import DeltaXYWHBBoxCoder
from mmdet.core.bbox.iou_calculators import BboxOverlaps2D
from mmdet.core.bbox.iou_calculators.builder import IOU_CALCULATORS
from mmdet.models import HEADS
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import ConvFCBBoxHead
from torchvision.ops import nms

import network.assigners  # noqa: F401  (registers its assigner)
import network.deformable  # noqa: F401  (registers its convolution)
import network.efficientnet_lite  # noqa: F401  (registers its backbone)

LARGEST_GROWTH = math.log(1000 / 16)  # of a box's side in one regression, natural logarithm


@torch.no_grad()  # the second stage does not learn through where its regions lie
def select_proposals(
    head: RPNHead, logits, deltas, _score_factors, anchors, img_meta, cfg, *_args, **_kwargs
) -> torch.Tensor:
    """`_get_bboxes_single` of an RPN, with an NMS for each level, and ordered by logits.

    mmdet orders by the sigmoid, which rounds the best ones to the same number.

    Args:
        head: RPN with one foreground class.
        logits, deltas: of each level [A, H, W] and [A * 4, H, W].
        anchors: of each level [H * W * A, 4].
        img_meta: its `img_shape` is the network input without padding.
        cfg: `nms_pre`, `nms`, `max_per_img` and `min_bbox_size`; default the head's own.

    Returns:
        float32 [N, 5], x1 y1 x2 y2 and logit, best first.
    """
    cfg = head.test_cfg if cfg is None else cfg
    levels = []
    for logit, delta, boxes in zip(logits, deltas, anchors, strict=True):
        logit = logit.permute(1, 2, 0).flatten()
        top = logit.topk(min(cfg.nms_pre, len(logit)))
        delta = delta.permute(1, 2, 0).reshape(-1, 4)[top.indices]
        boxes = head.bbox_coder.decode(boxes[top.indices], delta, max_shape=img_meta["img_shape"])
        large = (boxes[:, 2:] - boxes[:, :2] > cfg.min_bbox_size).all(dim=1)
        levels.append(torch.cat([boxes, top.values[:, None]], dim=1)[large])
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # on a CPU, nms takes one core
        keep = pool.map(lambda level: nms(level[:, :4], level[:, 4], cfg.nms.iou_threshold), levels)
    proposals = torch.cat([level[kept] for level, kept in zip(levels, keep, strict=True)])
    best = proposals[:, 4].argsort(descending=True, stable=True)
    return proposals[best[: cfg.max_per_img]]


@HEADS.register_module()
class FinestTwiceRPNHead(RPNHead):
    """RPN that sees the finest feature map twice, each time with anchors of another size.

    The anchor generator has one more level than the neck has outputs.
    """

    _get_bboxes_single = select_proposals

    def forward(self, feats: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], ...]:
        """Logits and deltas; the finest map's, the same for both sizes of anchors, come twice."""
        return tuple([levels[0], *levels] for levels in super().forward(feats))


@BBOX_CODERS.register_module()
class UpperClampedBBoxCoder(DeltaXYWHBBoxCoder):
    """Box regression in which a side may shrink without limit, but grow 62.5-fold at most.

    So does Detectron2 (`Box2BoxTransform`); mmdet limits both.
    """

    def decode(self, bboxes, pred_bboxes, max_shape=None, wh_ratio_clip=None):
        """Boxes [N, K * 4] from deltas [N, K * 4], clipped to `max_shape` (height, width)."""
        deltas = pred_bboxes.unflatten(1, (-1, 4))
        stds, means = (deltas.new_tensor(values[2:]) for values in (self.stds, self.means))
        sides = torch.minimum(deltas[..., 2:], (LARGEST_GROWTH - means) / stds)
        deltas = torch.cat([deltas[..., :2], sides], dim=-1).flatten(1)
        no_limit = torch.finfo(torch.float32).tiny
        return super().decode(bboxes, deltas, max_shape, wh_ratio_clip=no_limit)


@HEADS.register_module()
class ProbabilityBBoxHead(ConvFCBBoxHead):
    """Box head that answers with probabilities outside of training.

    A cascade then averages the probabilities of its stages, as Detectron2 does, not their logits.
    """

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (in training) or probabilities [N, classes + 1], background last, and deltas."""
        logits, deltas = super().forward(x)
        return (logits if self.training else logits.float().softmax(dim=1)), deltas

    def get_bboxes(self, rois, cls_score, *args, **kwargs):
        """mmdet's, whose softmax gives back the probabilities."""
        return super().get_bboxes(rois, cls_score.log(), *args, **kwargs)


def all_losses(loss: Callable, cls_score: torch.Tensor, *args, **kwargs) -> dict:
    """A box head's losses, 0 where no region is left to learn from.

    mmdet then leaves them out, and refuses to train when another process has them.

    Args:
        loss: mmdet's `BBoxHead.loss`.
        cls_score: logits [N, classes + 1]; further arguments are `loss`'s own.
    """
    losses = loss(cls_score, *args, **kwargs)
    if not len(cls_score):
        losses.update(loss_cls=cls_score.sum(), acc=cls_score.new_full((1,), 100.0))
    return losses


@IOU_CALCULATORS.register_module()
class BlockedBboxOverlaps2D(BboxOverlaps2D):
    """mmdet's box IoU with small temporaries.

    Matching 65,000 anchors to 150 cells in the obvious way writes ten arrays of 40 MB, which
    takes a CPU longer than the backbone of a slim model. Matching a million anchors to 500 cells
    takes 36 bytes a pair, 19 GB, the result itself 2 GB.
    """

    BLOCK = 2**16  # pairs at a time, whose temporaries fit into the cache of a CPU
    GPU_BLOCK = 2**24  # 0.2 GB of temporaries, and few kernels

    def __call__(self, bboxes1, bboxes2, mode="iou", is_aligned=False):
        """IoU, or share of the first box ("iof"), of every pair: float [N, M]; else mmdet's own."""
        if mode not in ("iou", "iof") or is_aligned:
            return super().__call__(bboxes1, bboxes2, mode, is_aligned)
        block = self.GPU_BLOCK if bboxes1.is_cuda else self.BLOCK
        x1, y1, x2, y2 = bboxes2[:, :4].t().contiguous()
        area = (x2 - x1) * (y2 - y1)
        iou = bboxes1.new_empty(len(bboxes1), len(bboxes2))
        step = max(1, block // max(1, len(bboxes2)))
        for boxes, out in zip(bboxes1.split(step), iou.split(step), strict=True):
            left, top, right, bottom = (column[:, None] for column in boxes[:, :4].unbind(1))
            torch.minimum(right, x2, out=out).sub_(torch.maximum(left, x1)).clamp_(min=0)
            height = torch.minimum(bottom, y2).sub_(torch.maximum(top, y1)).clamp_(min=0)
            intersection = out.mul_(height)
            whole = (right - left) * (bottom - top)
            if mode == "iou":
                whole = (whole + area).sub_(intersection)
            intersection.div_(whole.clamp_(min=1e-6))
        return iou


def split_attention(module: SplitAttentionConv2d, x: torch.Tensor) -> torch.Tensor:
    """`forward` of mmdet's split attention without its sums over a dimension of two.

    Those take half of the time of a ResNeSt in bfloat16 on a CPU. The answer has the dtype that the
    convolutions compute in: under autocast a GPU's softmax answers in float32, which would carry
    over to the large maps.
    """
    x = module.relu(module.norm0(module.conv(x)))
    splits = x.chunk(module.radix, dim=1)
    pooled = sum(_means(x).chunk(module.radix, dim=1))
    attention = module.fc2(module.relu(module.norm1(module.fc1(pooled))))
    weights = module.rsoftmax(attention).to(x.dtype).view(len(x), -1, 1, 1)
    weights = weights.chunk(module.radix, dim=1)
    out = splits[0] * weights[0]
    for split, weight in zip(splits[1:], weights[1:], strict=True):
        out.addcmul_(split, weight)
    return out


def _means(x: torch.Tensor) -> torch.Tensor:
    """Mean of each channel, [N, C, 1, 1].

    The gradient of mean() becomes a map that lies otherwise in memory than all others, which takes
    a tenth of a training step on a CPU; that of sum() stays one number a channel. A GPU's float16
    could not hold such sums.
    """
    if x.is_cuda or not torch.is_grad_enabled():
        return x.mean(dim=(2, 3), keepdim=True)
    return x.sum(dim=(2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
