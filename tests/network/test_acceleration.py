"""What makes inference fast answers as mmdet's and mmcv's own modules do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pytest
import torch
from helpers import CONFIGS, ROOT
from mmcv.ops import ModulatedDeformConv2dPack, RoIAlign
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import nn

from network.checkpoints import load_checkpoint, load_weights
from network.deformable import PortableDCNv2
from network.detector import Detector
from network.ensemble import load_ensemble
from network.models import build_model
from network.modules import split_attention
from network.roi_align import extract, is_supported
from utils.stages import StageTimer

CPU = torch.device("cpu")
ARCHITECTURES = sorted(path.stem for path in CONFIGS.glob("*.py"))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_norms(model: nn.Module) -> None:
    """Norms as after a training: no statistics of 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9, 13), (1, 1), (40, 300)])  # the last one in several pieces
def test_deformable_convolution_equals_mmcv_s(size, stride):
    options = dict(padding=1, stride=stride, groups=2, deform_groups=2)
    theirs = ModulatedDeformConv2dPack(8, 12, 3, **options)
    nn.init.normal_(theirs.conv_offset.weight, 0, 0.3)
    nn.init.normal_(theirs.conv_offset.bias, 0, 2.0)  # many points lie outside of the image
    ours = PortableDCNv2(8, 12, 3, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, *size)
    # places about 300 pixels from the corner round by 3e-5, on each processor in its own way
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-5)
        layout = x.to(memory_format=torch.channels_last)
        torch.testing.assert_close(ours(layout), theirs(x), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours(layout), theirs(x), atol=1e-4, rtol=1e-5)  # with gradients


def test_deformable_convolution_in_training_has_mmcv_s_gradients():
    theirs = ModulatedDeformConv2dPack(4, 4, 3, padding=1, groups=2, deform_groups=2)
    nn.init.normal_(theirs.conv_offset.weight, 0, 0.3)
    ours = PortableDCNv2(4, 4, 3, padding=1, groups=2, deform_groups=2)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 4, 6, 7)
    theirs(x).square().sum().backward()
    ours.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        ours(x.to(memory_format=torch.channels_last)).square().sum().backward()
    for ours_value, theirs_value in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_value.grad, theirs_value.grad, atol=1e-4, rtol=1e-4)


def test_deformable_convolution_that_mmcv_computes_keeps_the_precision():
    module = PortableDCNv2(8, 12, 3, padding=1, groups=1, deform_groups=2).bfloat16()
    with torch.no_grad():
        assert module(torch.randn(1, 8, 5, 6).bfloat16()).dtype == torch.bfloat16


def extractor() -> SingleRoIExtractor:
    layer = dict(type="RoIAlign", output_size=7, sampling_ratio=0)
    return SingleRoIExtractor(layer, out_channels=6, featmap_strides=[4, 8])


def feature_maps() -> list[torch.Tensor]:
    return [torch.randn(2, 6, 30, 40), torch.randn(2, 6, 15, 20)]


def regions() -> torch.Tensor:
    """Boxes of all sizes and shapes, many of them partly or wholly outside of the image."""
    generator = np.random.default_rng(0)
    centres = generator.uniform(-30, 190, (200, 2))
    sides = np.exp(generator.uniform(-2, 5.5, (200, 2)))
    image = generator.integers(0, 2, (200, 1))
    rois = np.hstack([image, centres - sides / 2, centres + sides / 2])
    return torch.from_numpy(np.vstack([rois, [[0, 5, 5, 5, 5], [1, 0, 0, 160, 120]]])).float()


def test_roi_align_equals_mmcv_s():
    pool, maps, rois = extractor(), feature_maps(), regions()
    assert is_supported(pool)
    expected = pool(maps, rois)
    assert expected.abs().max() > 1
    torch.testing.assert_close(extract(pool, maps, rois), expected, atol=1e-5, rtol=1e-4)
    layout = [value.to(memory_format=torch.channels_last) for value in maps]
    torch.testing.assert_close(extract(pool, layout, rois), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_roi_align_has_torchvision_s_gradients(layout):
    pool, rois = extractor(), regions()
    maps = [level.to(memory_format=layout).requires_grad_() for level in feature_maps()]
    cotangent = torch.randn(len(rois), 6, 7, 7)
    gradients = [
        torch.autograd.grad((pooled * cotangent).sum(), maps)
        for pooled in (pool(maps, rois), extract(pool, maps, rois))
    ]
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    # a level that no region is pooled from
    (few,) = torch.autograd.grad(extract(pool, maps, rois[:0]).sum(), maps[1:])
    assert few.shape == maps[1].shape and not few.any()


def test_other_ways_of_pooling_are_left_to_mmcv():
    pool = extractor()
    pool.roi_layers[1] = RoIAlign(7, 1 / 8, sampling_ratio=2)
    assert not is_supported(pool)


def test_no_regions():
    assert extract(extractor(), feature_maps(), torch.zeros(0, 5)).shape == (0, 6, 7, 7)


def test_split_attention_equals_mmdet_s():
    module = SplitAttentionConv2d(8, 8, 3, padding=1).eval()
    random_norms(module)
    x = torch.randn(2, 8, 9, 11)
    torch.testing.assert_close(split_attention(module, x), module(x), atol=1e-5, rtol=1e-5)


def test_split_attention_keeps_the_layout_of_its_gradients():
    module = SplitAttentionConv2d(8, 8, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 9, 11).contiguous(memory_format=torch.channels_last)
    gradients = []

    def watch(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        output.register_hook(gradients.append)

    module.relu.register_forward_hook(watch)
    split_attention(module, x).backward(torch.randn_like(x))
    (of_map,) = [gradient for gradient in gradients if gradient.shape[2:] == x.shape[2:]]
    assert of_map.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("config", ARCHITECTURES)
def test_accelerated_model_equals_the_plain_one(untrained, config, tmp_path):
    checkpoint = load_checkpoint(untrained(config))
    model = build_model(json.loads(checkpoint["meta"]["model"]))
    load_weights(model, checkpoint["state_dict"], "x")
    random_norms(model)
    torch.save({**checkpoint, "state_dict": model.state_dict()}, tmp_path / "model.pth")
    inference = json.loads(checkpoint["meta"]["inference"])
    plain = Detector(model, inference, checkpoint["meta"]["class_names"], CPU)
    fast = Detector.load(tmp_path / "model.pth", CPU, torch.float32)
    image = np.random.default_rng(0).integers(0, 255, (70, 110, 3), dtype=np.uint8)
    answers = []
    for detector in (plain, fast):
        (features,) = detector.features([detector.prepare(image)])
        boxes = detector.boxes(features, detector.proposals(features))
        masks = detector.mask_probabilities(features, boxes.boxes, boxes.labels)
        answers.append((features.maps[0].contiguous().numpy(), boxes.boxes, boxes.scores, masks))
    assert len(answers[0][1]) > 0
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("config", ARCHITECTURES)
def test_training_does_not_depend_on_the_layout_in_memory(untrained, config):
    checkpoint = load_checkpoint(untrained(config))
    model = build_model(json.loads(checkpoint["meta"]["model"])).eval()
    load_weights(model, checkpoint["state_dict"], "x")
    image = torch.randn(1, 3, 64, 96)
    rois = torch.tensor([[0, 4.0, 5.0, 50.0, 40.0], [0, 20.0, 8.0, 31.0, 30.0]])
    pooled = []
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = model.to(memory_format=layout).extract_feat(image.to(memory_format=layout))
        pool = model.roi_head.bbox_roi_extractor
        pool = pool[0] if isinstance(pool, nn.ModuleList) else pool
        pooled.append(pool(maps[:4], rois))
    torch.testing.assert_close(*pooled, atol=1e-4, rtol=1e-4)


def test_a_batch_gives_what_its_images_give_alone(untrained):
    ensemble = load_ensemble([untrained(), untrained(seed=1)], CPU, torch.float32)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (60, 80, 3), dtype=np.uint8) for _ in range(3)]
    timer = StageTimer()
    batch = ensemble.detect([ensemble.prepare(image, timer) for image in images], timer)
    for image, detections in zip(images, batch, strict=True):
        together, alone = ensemble.finish(detections, timer), ensemble.predict(image)
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)


@pytest.mark.heavy
def test_compiled_backbone_gives_the_same_cells(untrained, tmp_path):
    script = """
import sys
from utils.script import quiet_libraries
quiet_libraries()
import torch, numpy as np
from network.ensemble import load_ensemble
image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
plain, fast = (
    load_ensemble(sys.argv[1:], torch.device("cpu"), torch.float32, compile=compile).predict(image)
    for compile in (False, True)
)
assert len(plain) > 0
np.testing.assert_allclose(fast.boxes, plain.boxes, atol=1e-2)
from torch._dynamo.utils import counters
assert counters["stats"]["unique_graphs"] > 0
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)  # of the process that runs the tests
    command = [sys.executable, "-c", script, str(untrained("tiny_published"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / ".cache" / "cell_instance_segmentation").iterdir())
