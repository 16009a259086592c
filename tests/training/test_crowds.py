"""Crowd regions, cells that may be there: training neither rewards nor punishes them."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import pytest
import torch
from helpers import CLASS_NAMES, CONFIGS, ROOT
from mmcv import Config
from mmdet.core import build_assigner
from mmdet.core.bbox.iou_calculators import BboxOverlaps2D
from mmdet.models.roi_heads import CascadeRoIHead
from torch.nn.modules.batchnorm import _BatchNorm

from network.models import build_model, forget_pretrained, set_num_classes
from network.modules import BlockedBboxOverlaps2D
from training.crop_masks import CropMasks

ALL_CONFIGS = sorted([*(ROOT / "configs").glob("*.py"), *CONFIGS.glob("*.py")])
CROWD = torch.tensor([[0.0, 0.0, 100.0, 100.0]])
CELL = torch.tensor([[10.0, 10.0, 30.0, 30.0]])


@pytest.mark.parametrize("path", ALL_CONFIGS, ids=lambda path: path.stem)
def test_a_crowd_region_spares_negatives_only(path):
    """In every stage of every configuration, as its own thresholds say."""
    train = Config.fromfile(str(path)).model.train_cfg
    stages = train.rcnn if isinstance(train.rcnn, list) else [train.rcnn]
    boxes = torch.tensor(
        [
            [11.0, 10.0, 31.0, 30.0],  # on the cell, inside the crowd region
            [60.0, 60.0, 80.0, 80.0],  # inside the region, on no cell
            [40.0, 0.0, 140.0, 100.0],  # 0.6 of it inside
            [70.0, 0.0, 170.0, 100.0],  # 0.3 of it inside
            [0.0, 0.0, 100.0, 235.0],  # 0.43 of it inside, as is the IoU
            [200.0, 0.0, 220.0, 20.0],  # elsewhere
        ]
    )
    for stage in (train.rpn, *stages):
        assigner = build_assigner(stage.assigner)
        neutral = -1 if assigner.neg_iou_thr <= 0.4 else 0
        expected = torch.tensor([1, -1, -1, 0, neutral, 0])
        found = assigner.assign(boxes, CELL, CROWD, torch.zeros(1, dtype=torch.long))
        assert torch.equal(found.gt_inds, expected)
        expected[0] = -1
        without_cells = assigner.assign(boxes, CELL[:0], CROWD)
        assert torch.equal(without_cells.gt_inds, expected)


def test_blocked_overlaps_equal_mmdets():
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(2, 700, 2, 2, generator=generator) * 50
    first, second = (torch.cat([c.amin(1), c.amax(1)], dim=1) for c in corners)
    blocked = BlockedBboxOverlaps2D()
    blocked.BLOCK = 999
    for mode in ("iou", "iof"):
        expected = BboxOverlaps2D()(first, second[:90], mode)
        torch.testing.assert_close(blocked(first, second[:90], mode), expected)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_an_image_that_is_all_crowd_teaches_nothing(path):
    """The regions reach the assigners of the RPN and of every box head."""
    config = Config.fromfile(str(path)).model.to_dict()
    forget_pretrained(config)
    set_num_classes(config, len(CLASS_NAMES))
    model = build_model(config).train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # one image has no statistics of a split attention
    metas = [dict(img_shape=(96, 96, 3), pad_shape=(96, 96, 3), scale_factor=1.0)]
    nothing = dict(gt_bboxes=[torch.zeros(0, 4)], gt_labels=[torch.zeros(0, dtype=torch.long)])
    masks = [CropMasks([], [], 96, 96)]
    image = torch.rand(1, 3, 96, 96)
    everywhere = torch.tensor([[-1000.0, -1000.0, 1000.0, 1000.0]])  # anchors reach outside
    names = []
    for crowd, learns in ((everywhere, False), (CROWD[:0], True)):
        losses = model.forward_train(
            image, metas, **nothing, gt_bboxes_ignore=[crowd], gt_masks=masks
        )
        total, _ = model._parse_losses(losses)
        assert (float(total.detach()) > 0) == learns
        names.append(list(losses))
    if type(model.roi_head) is not CascadeRoIHead:  # mmdet's own, of no configuration of ours
        assert sorted(names[0]) == sorted(names[1])  # or processes that see both could not go on
