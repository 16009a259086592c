"""What a GPU computes as a CPU does; the tests of a GPU skip where there is none."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pytest
import torch
from helpers import CLASS_NAMES, CONFIGS, on_each_device
from mmcv import Config
from mmdet.core.bbox.iou_calculators import BboxOverlaps2D
from mmdet.models.backbones.resnest import SplitAttentionConv2d

from network.ensemble import load_ensemble
from network.models import build_model, forget_pretrained, run_in_dtype, set_num_classes
from network.modules import BlockedBboxOverlaps2D, split_attention
from training.crop_masks import CropMasks

ARCHITECTURES = ("tiny_resnest", "tiny_published")


@on_each_device
@pytest.mark.parametrize("block", [1, 700, 2**24])
def test_overlaps_do_not_depend_on_device_and_block(device, block):
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(2, 300, 2, 2, generator=generator) * 50
    first, second = (torch.cat([c.amin(1), c.amax(1)], dim=1) for c in corners)
    blocked = BlockedBboxOverlaps2D()
    blocked.BLOCK = blocked.GPU_BLOCK = block
    found = blocked(first.to(device), second[:90].to(device)).cpu()
    torch.testing.assert_close(found, BboxOverlaps2D()(first, second[:90]))
    assert blocked(first.to(device), second[:0].to(device)).shape == (300, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_matching_on_a_gpu_takes_little_more_memory_than_its_result():
    anchors = torch.rand(500_000, 4, device="cuda")
    cells = torch.rand(300, 4, device="cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    BlockedBboxOverlaps2D()(cells, anchors)
    assert torch.cuda.max_memory_allocated() - before < 4 * 500_000 * 300 + 500 * 2**20


@on_each_device
def test_split_attention_keeps_the_precision_of_the_convolutions(device, monkeypatch):
    module = SplitAttentionConv2d(8, 8, 3, padding=1).to(device).eval()
    softmax = module.rsoftmax.forward
    # autocast has a GPU compute a softmax in float32
    monkeypatch.setattr(module.rsoftmax, "forward", lambda x: softmax(x).float())
    x = torch.randn(2, 8, 9, 11, device=device)
    with torch.autocast(device, torch.bfloat16):
        assert split_attention(module, x).dtype == torch.bfloat16


@on_each_device
@pytest.mark.parametrize("config", ARCHITECTURES)
def test_each_device_finds_the_same_cells(untrained, device, config):
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    answers = [
        load_ensemble([untrained(config)], torch.device(where), torch.float32).predict(image)
        for where in ("cpu", device)
    ]
    assert len(answers[0]) == len(answers[1]) > 0
    np.testing.assert_allclose(answers[0].boxes, answers[1].boxes, atol=0.1)
    np.testing.assert_allclose(answers[0].scores, answers[1].scores, atol=1e-3)


@on_each_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", ARCHITECTURES)
def test_a_training_step(device, dtype, config):
    model_config = Config.fromfile(str(CONFIGS / f"{config}.py")).model.to_dict()
    forget_pretrained(model_config)
    set_num_classes(model_config, len(CLASS_NAMES))
    torch.manual_seed(0)
    model = build_model(model_config).to(device, memory_format=torch.channels_last)
    model.init_weights()
    run_in_dtype(model.train(), dtype, device)
    boxes = torch.tensor([[10.0, 12.0, 40.0, 36.0], [50.0, 40.0, 80.0, 72.0]])
    crops = [np.ones((24, 30), np.uint8), np.ones((32, 30), np.uint8)]
    losses = model.forward_train(
        torch.randn(2, 3, 96, 96, device=device),
        [dict(img_shape=(96, 96, 3), pad_shape=(96, 96, 3), scale_factor=1.0)] * 2,
        gt_bboxes=[boxes.to(device)] * 2,
        gt_labels=[torch.tensor([0, 2], device=device)] * 2,
        gt_masks=[CropMasks(crops, boxes[:, :2].numpy(), 96, 96)] * 2,
    )
    loss, log = model._parse_losses(losses)
    loss.backward()
    assert loss.dtype == torch.float32 and np.isfinite(list(log.values())).all()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    learning = [name for name, gradient in gradients.items() if gradient is not None]
    assert all(gradients[name].isfinite().all() for name in learning)
    for part in ("backbone", "neck", "rpn_head", "bbox_head", "mask_head"):
        assert any(part in name and gradients[name].any() for name in learning)
