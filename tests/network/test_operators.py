"""mmcv's operators against known answers, whoever answers them: torchvision or a compiled mmcv."""

from __future__ import annotations

import importlib
import math
import sys
from types import ModuleType

from network.operators import EXTENSION, put_in_place

import mmcv.ops
import pytest
import torch
from helpers import on_each_device
from mmcv.ops import ModulatedDeformConv2dPack, modulated_deform_conv2d, nms, roi_align
from torch.nn import functional as F

from network.deformable import PortableDCNv2

COMPILED = hasattr(sys.modules[EXTENSION], "__file__")
without_compiled_ones = pytest.mark.skipif(COMPILED, reason="mmcv-full is compiled here")


def random(*size: int, seed: int = 0) -> torch.Tensor:
    """float64, normal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def greedy_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float, offset: int) -> list:
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        for k in kept:
            low = torch.maximum(boxes[i, :2], boxes[k, :2])
            high = torch.minimum(boxes[i, 2:], boxes[k, 2:])
            shared = (high - low + offset).clamp(min=0).prod()
            areas = [(boxes[j, 2:] - boxes[j, :2] + offset).prod() for j in (i, k)]
            if shared / (sum(areas) - shared) > threshold:
                break
        else:
            kept.append(i)
    return kept


@on_each_device
@pytest.mark.parametrize("offset", [0, 1])
def test_nms_is_the_greedy_one(device, offset):
    corners = random(300, 2).abs() * 30
    boxes = torch.cat([corners, corners + random(300, 2, seed=1).abs() * 20], dim=1).float()
    scores = torch.rand(300, generator=torch.Generator().manual_seed(2))
    expected = greedy_nms(boxes, scores, 0.4, offset)
    assert 20 < len(expected) < 280
    detections, kept = nms(boxes.to(device), scores.to(device), 0.4, offset)
    assert kept.tolist() == expected
    torch.testing.assert_close(detections.cpu()[:, :4], boxes[expected])
    torch.testing.assert_close(detections.cpu()[:, 4], scores[expected])


@on_each_device
def test_offset_of_nms_counts_pixels_inclusively(device):
    # 2 of 6 pixels are shared where the last column counts, otherwise none
    boxes = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 1.0]], device=device)
    scores = torch.tensor([0.5, 0.9], device=device)
    assert nms(boxes, scores, 0.3, 1)[1].tolist() == [1]
    assert nms(boxes, scores, 0.3, 0)[1].tolist() == [1, 0]


@on_each_device
def test_nms_without_boxes_and_below_the_least_score(device):
    none = torch.zeros(0, 4, device=device)
    assert nms(none, none[:, 0], 0.5)[1].tolist() == []
    boxes = torch.tensor([[0, 0, 5, 5], [20, 0, 25, 5], [40, 0, 45, 5.0]], device=device)
    scores = torch.tensor([0.2, 0.9, 0.6], device=device)
    assert nms(boxes, scores, 0.5, score_threshold=0.3, max_num=5)[1].tolist() == [1, 2]
    assert nms(boxes, scores, 0.5, max_num=1)[1].tolist() == [1]


@on_each_device
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align_on_a_slope_gives_the_centres_of_the_bins(device, sampling_ratio):
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    features = torch.stack([2 * x + 3 * y, x - y])[None].to(device)
    rois = torch.tensor([[0, 8.0, 4.0, 32.0, 28.0], [0, 10.0, 6.0, 13.0, 21.0]], device=device)
    pooled = roi_align(features, rois, (3, 2), 0.5, sampling_ratio, "avg", True).cpu()
    for roi, values in zip(rois.cpu()[:, 1:] / 2, pooled, strict=True):
        columns = roi[0] - 0.5 + (roi[2] - roi[0]) * torch.tensor([0.25, 0.75])
        rows = roi[1] - 0.5 + (roi[3] - roi[1]) * torch.tensor([1, 3, 5]) / 6
        expected = 2 * columns + 3 * rows[:, None], columns - rows[:, None]
        torch.testing.assert_close(values, torch.stack(expected))


def plain_roi_align(features, roi, size, scale, ratio, aligned) -> torch.Tensor:
    """One region [5], point by point: [C, size, size]."""
    height, width = features.shape[2:]
    start, end = roi[[2, 1]] * scale, roi[[4, 3]] * scale  # y, x
    if aligned:
        start, side = start - 0.5, end - start
    else:
        side = (end - start).clamp(min=1)
    counts = [ratio or math.ceil(length / size) for length in side.tolist()]
    out = torch.zeros(features.shape[1], size, size, dtype=features.dtype)
    for i, j, p, q in torch.cartesian_prod(*map(torch.arange, (size, size, *counts))).tolist():
        y, x = (
            float(start[axis] + side[axis] / size * (cell + (part + 0.5) / counts[axis]))
            for axis, cell, part in ((0, i, p), (1, j, q))
        )
        if not (-1 <= y <= height and -1 <= x <= width):
            continue
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        for row, y_weight in ((int(y), 1 - y % 1), (int(y) + 1, y % 1)):
            for column, x_weight in ((int(x), 1 - x % 1), (int(x) + 1, x % 1)):
                if y_weight * x_weight:
                    value = features[int(roi[0]), :, row, column]
                    out[:, i, j] += value * y_weight * x_weight / (counts[0] * counts[1])
    return out


@on_each_device
@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (0, False)])
def test_roi_align_is_the_plain_one(device, ratio, aligned):
    features = random(2, 3, 9, 11)
    rois = torch.tensor(
        [
            [0, 3.0, 5.0, 21.0, 17.0],
            [1, -7.0, -3.0, 9.5, 30.0],  # reaches out of the image on three sides
            [1, 15.0, 2.0, 15.5, 2.5],  # smaller than a pixel
            [0, 60.0, 60.0, 70.0, 80.0],  # wholly outside
        ],
        dtype=torch.float64,
    )
    expected = [plain_roi_align(features, roi, 3, 0.5, ratio, aligned) for roi in rois]
    found = roi_align(features.to(device), rois.to(device), (3, 3), 0.5, ratio, "avg", aligned)
    torch.testing.assert_close(found.cpu(), torch.stack(expected))


@on_each_device
@pytest.mark.parametrize("aligned", [True, False])
def test_gradient_of_roi_align(device, aligned):
    features = random(2, 2, 6, 7).to(device).requires_grad_()
    rois = [[0, 1.0, 2.0, 9.0, 8.0], [1, -3.0, -2.0, 20.0, 5.0], [1, 4.0, 4.0, 6.5, 11.0]]
    rois = torch.tensor(rois, dtype=torch.float64, device=device)

    def pool(values: torch.Tensor) -> torch.Tensor:
        return roi_align(values, rois, (2, 2), 0.5, 0, "avg", aligned)

    # a GPU adds in any order
    assert torch.autograd.gradcheck(pool, features, nondet_tol=1e-9)


@on_each_device
def test_no_regions_to_pool(device):
    features = torch.zeros(1, 2, 6, 7, device=device, requires_grad=True)
    pooled = roi_align(features, torch.zeros(0, 5, device=device), (3, 3), 1.0, 0, "avg", True)
    assert pooled.shape == (0, 2, 3, 3)
    pooled.sum().backward()
    assert not features.grad.any()


def plain_deformable(x, offset, mask, weight, bias, stride, padding, dilation, groups, parts):
    """Modulated deformable convolution, tap by tap, by `grid_sample`; `parts` deformable groups."""
    height, width = x.shape[2:]
    kernel = weight.shape[2:]
    steps = [torch.arange(n, dtype=x.dtype) for n in offset.shape[2:]]
    taps = []
    for tap in range(kernel[0] * kernel[1]):
        row, column = divmod(tap, kernel[1])
        sampled = []
        for part, image in enumerate(x.chunk(parts, dim=1)):
            at = part * kernel[0] * kernel[1] + tap
            y = offset[:, 2 * at] + (steps[0] * stride[0] - padding[0] + row * dilation[0])[:, None]
            x_ = offset[:, 2 * at + 1] + steps[1] * stride[1] - padding[1] + column * dilation[1]
            grid = torch.stack([2 * x_ / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
            values = F.grid_sample(image, grid, padding_mode="zeros", align_corners=True)
            sampled.append(values * mask[:, at, None])
        taps.append(torch.cat(sampled, dim=1))
    columns = torch.stack(taps, dim=2).flatten(1, 2)  # channel by channel all taps
    return F.conv2d(columns, weight.flatten(1)[:, :, None, None], bias, groups=groups)


def deformable_case(stride, padding, dilation, groups, parts) -> list[torch.Tensor]:
    """x, offset, mask, weight and bias; some points lie outside of the image."""
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip((7, 9), (3, 2), stride, padding, dilation, strict=True)
    ]
    x, offset = random(2, 4, 7, 9), 1.7 * random(2, parts * 2 * 6, *size, seed=1)
    mask = random(2, parts * 6, *size, seed=2).sigmoid()
    return [x, offset, mask, random(6, 4 // groups, 3, 2, seed=3), random(6, seed=4)]


# stride, padding and dilation (vertical, horizontal), groups and deformable groups
SHAPES = [
    ((1, 1), (1, 1), (1, 1), 1, 1),
    ((2, 1), (0, 1), (1, 2), 2, 1),
    ((1, 2), (2, 0), (2, 1), 2, 2),
    ((2, 2), (1, 1), (1, 1), 1, 4),
]


@on_each_device
@pytest.mark.parametrize("shape", SHAPES)
def test_deformable_convolution_is_the_plain_one(device, shape):
    inputs = deformable_case(*shape)
    expected = plain_deformable(*inputs, *shape)
    found = modulated_deform_conv2d(*(value.to(device) for value in inputs), *shape)
    torch.testing.assert_close(found.cpu(), expected)
    *inputs, bias = inputs
    found = modulated_deform_conv2d(*(value.to(device) for value in inputs), None, *shape)
    torch.testing.assert_close(found.cpu(), expected - bias[:, None, None])


@on_each_device
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_deformable_convolution(device, shape, with_bias):
    inputs = deformable_case(*shape)[: 5 if with_bias else 4]
    weights = random(*plain_deformable(*inputs, *[None] * (not with_bias), *shape).shape, seed=5)
    gradients = []
    for compute, where in ((plain_deformable, "cpu"), (modulated_deform_conv2d, device)):
        leaves = [value.to(where).requires_grad_() for value in inputs]
        out = compute(*leaves, *[None] * (not with_bias), *shape)
        found = torch.autograd.grad((out * weights.to(where)).sum(), leaves)
        gradients.append([gradient.cpu() for gradient in found])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


@on_each_device
@pytest.mark.parametrize(("groups", "parts"), [(2, 2), (1, 2)])
def test_layer_without_offsets_is_a_convolution(device, groups, parts):
    """Whichever way the project's layer takes: with gradients, without, and in another layout."""
    torch.manual_seed(0)
    layer = PortableDCNv2(4, 6, 3, padding=1, groups=groups, deform_groups=parts).to(device)
    x = torch.randn(2, 4, 6, 7, device=device)
    # untrained: no offsets, and masks of one half
    expected = F.conv2d(x, layer.weight / 2, layer.bias, padding=1, groups=groups)
    tolerance = dict(atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer(x), expected, **tolerance)
    layer = layer.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        layer(x.to(memory_format=torch.channels_last)), expected, **tolerance
    )
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, **tolerance)


@on_each_device
def test_layer_moves_with_its_offsets(device):
    """Offsets of (1, -2) pixels in all taps read a shifted image, in our layer as in mmcv's."""
    torch.manual_seed(0)
    x = torch.randn(1, 4, 8, 9, device=device)
    shifted = F.pad(x, (2, 0, 0, 1))[:, :, 1:, :9]  # [y, x] is x[y + 1, x - 2]
    for kind in (PortableDCNv2, ModulatedDeformConv2dPack):
        layer = kind(4, 6, 3, padding=0, bias=False).to(device)
        with torch.no_grad():
            layer.conv_offset.bias[: 2 * 9] = torch.tensor([1.0, -2.0] * 9)
        expected = F.conv2d(shifted, layer.weight / 2)
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


@without_compiled_ones
@on_each_device
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_goes_in_and_out(device, dtype):
    features = random(1, 2, 6, 7).to(device, dtype).requires_grad_()
    roi = torch.tensor([[0, 1.0, 1.0, 5.0, 4.0]], device=device)
    pooled = roi_align(features, roi, (2, 2), 1.0, 0, "avg", True)
    exact = roi_align(features.float(), roi, (2, 2), 1.0, 0, "avg", True)
    torch.testing.assert_close(pooled, exact.to(dtype))
    pooled.sum().backward()
    assert features.grad.dtype == dtype and features.grad.any()
    shape = SHAPES[0]
    inputs = [value.to(device, dtype).requires_grad_() for value in deformable_case(*shape)]
    out = modulated_deform_conv2d(*inputs, *shape)
    torch.testing.assert_close(
        out, modulated_deform_conv2d(*(i.float() for i in inputs), *shape).to(dtype)
    )
    out.sum().backward()
    assert all(value.grad.dtype == dtype and value.grad.any() for value in inputs)


@without_compiled_ones
def test_an_absent_operator_says_so_when_it_is_called():
    # mmcv.ops has been imported as a whole; nothing failed
    logits, labels = torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)
    with pytest.raises(NotImplementedError, match="sigmoid_focal_loss_forward needs a compiled"):
        mmcv.ops.sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "none")
    with pytest.raises(NotImplementedError, match="maximum"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), (2, 2), 1.0, 0, "max", True)


def test_mmcv_knows_that_there_are_operators():
    from mmcv.utils import collect_env
    from mmcv.utils.ext_loader import check_ops_exist

    assert check_ops_exist()
    assert collect_env()["MMCV Compiler"]


def test_a_compiled_extension_is_used_as_it_is(monkeypatch):
    compiled = ModuleType(EXTENSION)
    monkeypatch.setitem(sys.modules, EXTENSION, compiled)
    put_in_place()
    assert sys.modules[EXTENSION] is compiled


def test_a_compiled_extension_of_another_torch_is_replaced(monkeypatch):
    monkeypatch.delitem(sys.modules, EXTENSION)

    def load(name: str) -> ModuleType:
        raise ImportError(f"{name}: undefined symbol")

    monkeypatch.setattr(importlib, "import_module", load)
    put_in_place()
    boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 8, 9.0]])
    assert sys.modules[EXTENSION].nms(boxes, torch.tensor([0.1, 0.2]), 0.5, 0).tolist() == [1]
