"""The published architecture answers as Detectron2 does, at every stage, with the same weights.

`python -m pytest -s tests/network/test_detectron2_parity.py` prints the largest
difference of each stage.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pytest
import torch
from detectron2_weights import make_weights, read_list
from helpers import DATA
from mmdet.core import bbox2roi
from mmdet.models.roi_heads import ConvFCBBoxHead
from torch import nn

from cells.images import resize
from cells.instances import Boxes
from cells.masks import binary_crops, paste
from network.checkpoints import load_checkpoint, load_weights
from network.detector import Detector, FeatureMaps
from network.ensemble import Ensemble, View
from network.merging import PostProcessing, mean_masks, merge_boxes
from network.models import build_model

pytestmark = pytest.mark.heavy
CPU = torch.device("cpu")
TENSOR, PIXELS = 1e-4, 1e-3  # largest differences
REFERENCE = np.load(DATA / "d2_parity.npz")
IMAGE = REFERENCE["image"]
BLOCKS = {"res2_0": (1, 0), "res3_0": (2, 0), "res3_1": (2, 1)}


def compare(stage: str, ours, name: str, tolerance: float = TENSOR, reference=REFERENCE) -> None:
    """Assert that an array is the reference's of this name."""
    difference = float(np.abs(np.asarray(ours) - reference[name]).max())
    print(f"| {stage} | {name} | {difference:.1e} |")
    assert difference <= tolerance, name


def compare_map(stage: str, name: str, value: torch.Tensor, step=4, channels=slice(4)) -> None:
    """Assert that a tensor [1, C, H, W] is the reference's, by its statistics and a sample."""
    (value,) = value.double()
    stats = [value.mean(), value.std(correction=0), value.min(), value.max()]
    compare(stage, torch.stack(stats), f"{name}_stats")
    compare(stage, value[channels, ::step, ::step], f"{name}_sample")
    if f"{name}_chmean" in REFERENCE:
        compare(stage, value.mean(dim=(1, 2)), f"{name}_chmean")


@pytest.fixture(scope="module")
def convert(start, tmp_path_factory) -> Callable[[float], Path]:
    """Convert model A (1.0) or B (0.9), as a user would."""
    folder = tmp_path_factory.mktemp("converted")

    def make(first_conv: float) -> Path:
        source, output = folder / "model_final.pth", folder / f"{first_conv}.pth"
        torch.save({"model": make_weights(first_conv), "iteration": 999}, source)
        done = start("convert_detectron2.py", "--input", source, "--output", output)
        assert done.returncode == 0, done.stderr
        source.unlink()
        return output

    return make


@pytest.fixture(scope="module")
def path(convert) -> Path:
    """Converted model A."""
    return convert(1.0)


@pytest.fixture(scope="module")
def model(path) -> nn.Module:
    """Model A as mmdet builds it, without what makes inference fast."""
    checkpoint = load_checkpoint(path)
    model = build_model(json.loads(checkpoint["meta"]["model"]))
    load_weights(model, checkpoint["state_dict"], path)
    return model.eval()


def load(path: Path) -> Detector:
    """A detector that does not resize the reference's image."""
    detector = Detector.load(path, CPU, torch.float32)
    detector.inference["scale"] = 1.0
    return detector


@pytest.fixture(scope="module")
def detector(path) -> Detector:
    return load(path)


@pytest.fixture(scope="module")
def features(detector) -> FeatureMaps:
    (features,) = detector.features([detector.prepare(IMAGE)])
    return features


@pytest.fixture(scope="module")
def proposals(detector, features) -> torch.Tensor:
    """float32 [3000, 5]."""
    with torch.inference_mode():
        return detector.proposals(features)


def test_weights_are_the_reference_s():
    weights = make_weights()
    for name, crc in read_list()[["name", "crc32"]].itertuples(index=False):
        assert zlib.crc32(weights[name].numpy().tobytes()) == crc, name


def test_resize():
    image = np.load(DATA / "instances.npz")["image"]
    image = np.repeat(np.tile(image, (2, 2))[:520, :704, None], 3, axis=2)
    assert zlib.crc32(np.ascontiguousarray(image).tobytes()) == REFERENCE["resize_src_crc32"]
    resized = resize(image, tuple(REFERENCE["resize_shape"][::-1].tolist()), "pillow")
    assert zlib.crc32(np.ascontiguousarray(resized).tobytes()) == REFERENCE["resize_crc32"]


def test_inside_the_backbone(model):
    seen = {}

    def keep(name: str) -> Callable:
        return lambda _module, _inputs, output: seen.update({name: output.clone()})

    backbone = model.backbone
    backbone.maxpool.register_forward_hook(keep("stem"))
    for i in range(4):
        getattr(backbone, f"layer{i + 1}").register_forward_hook(keep(f"res{i + 2}"))
    for name, (layer, block) in BLOCKS.items():
        block = getattr(backbone, f"layer{layer}")[block]
        split_attention = block.conv2
        points = {
            "conv2conv": split_attention.conv,
            "bn0": split_attention.norm0,
            "atten": split_attention.rsoftmax,
            "conv2": split_attention,
            "out": block,
        }
        if layer > 1:
            points["offset"] = split_attention.conv.conv_offset
        if block.downsample is not None:
            points["shortcut"] = block.downsample
        for point, module in points.items():
            module.register_forward_hook(keep(f"dbg_{name}_{point}"))
        split_attention.register_forward_pre_hook(
            lambda _module, inputs, name=name: seen.update({f"dbg_{name}_conv1": inputs[0].clone()})
        )
    pixels = (IMAGE.transpose(2, 0, 1)[None].astype(np.float32) - 128) / np.float32(11.578)
    compare("input", pixels[0, :, ::16, ::16], "input_sample")
    with torch.inference_mode():
        backbone(torch.from_numpy(pixels))
    for name, value in seen.items():
        if name.endswith("atten"):
            compare("backbone", value.flatten(), name)
        elif name.startswith("dbg"):
            channels = slice(None) if name.endswith("offset") else slice(None, None, 8)
            compare_map("backbone", name, value, step=16, channels=channels)
        else:
            compare_map("backbone", name, value)
    assert len(seen) == 5 + 7 + 8 + 7  # no point is left out


def test_feature_maps(features):
    for i, value in enumerate(features.maps):
        assert tuple(value.shape) == tuple(REFERENCE[f"p{i + 2}_shape"])
        compare_map("neck", f"p{i + 2}", value)


def test_rpn(detector, features):
    head = detector.model.rpn_head
    with torch.inference_mode():
        logits, deltas = head(features.maps)
    sizes = [logit.shape[-2:] for logit in logits]
    anchors = head.prior_generator.grid_priors(sizes, device=CPU)
    for i, (logit, delta, boxes) in enumerate(zip(logits, deltas, anchors, strict=True)):
        logit = logit[0].permute(1, 2, 0).flatten()
        delta = delta[0].permute(1, 2, 0).reshape(-1, 4)
        assert len(logit) == len(delta) == len(boxes) == REFERENCE[f"rpn{i}_count"]
        for kind, value in (("logits", logit), ("deltas", delta)):
            compare("RPN", value[:500], f"rpn{i}_{kind}_first500")
            compare("RPN", value[::97], f"rpn{i}_{kind}_stride97")
        compare("anchors", boxes[:40], f"rpn{i}_anchors_first40", PIXELS)
        compare("anchors", boxes[::97], f"rpn{i}_anchors_stride97", PIXELS)


def test_proposals(proposals):
    assert len(proposals) == REFERENCE["proposals_count"]
    logits = proposals[:, 4]
    assert (logits.diff() <= 0).all()
    compare("proposals", logits, "proposals_logits_all_sorted")
    ours = Boxes(proposals[:300, :4].numpy(), logits[:300].numpy(), np.zeros(300))
    theirs = REFERENCE["proposals_boxes_top300"], REFERENCE["proposals_logits_top300"]
    # the last ones may be tied with others behind them
    inside = theirs[1] > theirs[1][-1] + TENSOR
    assert_same_boxes("proposals", ours, Boxes(*(part[inside] for part in theirs), np.zeros(300)))


def assert_same_boxes(stage: str, ours: Boxes, theirs: Boxes) -> None:
    """The same boxes in the same order, except among equal scores."""
    worst = 0.0
    for i in range(len(theirs.boxes)):
        tied = np.abs(ours.scores - theirs.scores[i]) <= TENSOR
        tied &= ours.labels == theirs.labels[i]
        differences = np.abs(ours.boxes[tied] - theirs.boxes[i]).max(axis=1, initial=0)
        assert len(differences) and differences.min() <= PIXELS, (i, theirs.boxes[i])
        worst = max(worst, differences.min())
    difference = np.abs(ours.scores[: len(theirs.boxes)] - theirs.scores).max()
    print(f"| {stage} | {len(theirs.boxes)} boxes, pixels | {worst:.1e} |")
    print(f"| {stage} | {len(theirs.boxes)} scores | {difference:.1e} |")
    assert difference <= TENSOR


def test_cascade_stages(detector, features):
    head = detector.model.roi_head
    shape = features.source.img_meta["img_shape"]
    boxes = torch.from_numpy(REFERENCE["fixed_boxes"])
    probabilities = []
    with torch.inference_mode():
        for k in range(3):
            compare("cascade", boxes, f"st{k}_in_boxes", PIXELS)
            extractor, box_head = head.bbox_roi_extractor[k], head.bbox_head[k]
            rois = bbox2roi([boxes])
            pooled = extractor(features.maps[:4], rois)
            compare("cascade", pooled[:, :4], f"st{k}_pool_sample")
            compare("cascade", pooled.mean(dim=(1, 2, 3)), f"st{k}_pool_mean")
            logits, deltas = ConvFCBBoxHead.forward(box_head, pooled)
            compare("cascade", logits, f"st{k}_cls_logits")
            compare("cascade", deltas, f"st{k}_bbox_deltas")
            refined = box_head.bbox_coder.decode(boxes, deltas)
            compare("cascade", refined, f"st{k}_refined_boxes", PIXELS)
            probabilities.append(box_head(pooled)[0])
            boxes = box_head.bbox_coder.decode(boxes, deltas, max_shape=shape)
    compare("cascade", sum(probabilities) / 3, "fixed_avg_probs")


@pytest.mark.parametrize("iou", ["050", "099"])
def test_detections_of_fixed_boxes(detector, features, iou):
    check_detections(
        detector, features, torch.from_numpy(REFERENCE["fixed_boxes"]), f"fixed_det_nms{iou}"
    )


def test_detections(detector, features, proposals):
    found = check_detections(detector, features, proposals, "full_det_nms099")
    assert len(found) == REFERENCE["full_det_nms099_total"]


def check_detections(detector, features, proposals: torch.Tensor, name: str) -> Boxes:
    rules = detector.model.roi_head.test_cfg
    usual = rules.nms.iou_threshold
    rules.nms.iou_threshold = int(name[-3:]) / 100
    try:
        found = detector.boxes(features, proposals)
    finally:
        rules.nms.iou_threshold = usual
    expected = Boxes(*(REFERENCE[f"{name}_{part}"] for part in ("boxes", "scores", "classes")))
    assert_same_boxes("detections", found, expected)
    return found


def test_masks(detector, features):
    boxes, labels = REFERENCE["fixed_boxes"][:12], REFERENCE["mask_classes"]
    head = detector.model.roi_head
    with torch.inference_mode():
        rois = bbox2roi([torch.from_numpy(boxes)])
        pooled = head.mask_roi_extractor[0](features.maps[:4], rois)
        compare("mask head", pooled[:, :2], "mask_pool_sample")
        compare("mask head", head.mask_head[0](pooled), "mask_logits_all_classes")
    probabilities = detector.mask_probabilities(features, boxes, labels)
    compare("mask head", probabilities, "mask_probs")
    found = Boxes(boxes, np.ones(12, np.float32), labels)
    instances = mean_masks(found, [probabilities], IMAGE.shape[:2])
    assert_same_masks("mask head", instances, REFERENCE["mask_pasted_bits"])


def assert_same_masks(stage: str, instances, bits: np.ndarray) -> None:
    """Equal except for pixels whose probability is within 1e-4 of 0.5."""
    size = instances.image_size
    expected = np.unpackbits(bits, axis=1, count=size[0] * size[1]).reshape(-1, *size).astype(bool)
    differing = 0
    for crop, soft, offset, mask in zip(
        binary_crops(instances), instances.masks, instances.offsets, expected, strict=True
    ):
        different = paste(crop, offset, size) != mask
        differing += different.sum()
        assert (np.abs(paste(soft, offset, size)[different] - 0.5) <= TENSOR).all()
    print(f"| {stage} | {len(expected)} masks, differing pixels | {differing} |")


def record(monkeypatch, method: str) -> list[tuple]:
    """What a method of `View` will be given behind the features, and what it returns."""
    calls, original = [], getattr(View, method)

    def recorded(view, features, given):
        answer = original(view, features, given)
        calls.append((given, answer))
        return answer

    monkeypatch.setattr(View, method, recorded)
    return calls


def test_whole_ensemble(detector, convert, monkeypatch):
    """Two models on the image, against the original solution's own ensemble at every stage."""
    expected = np.load(DATA / "d2_ensemble_small.npz")
    names = detector.class_names
    confidence = {"default": 1.0, **dict(zip(names, expected["conf_thresh"].tolist(), strict=True))}
    ensemble = Ensemble([detector, load(convert(0.9))], PostProcessing(confidence))
    found = record(monkeypatch, "boxes")
    drawn = record(monkeypatch, "mask_probabilities")
    final = ensemble.predict(IMAGE)
    parts = [boxes for _, boxes in found]
    for model, part in zip("AB", parts, strict=True):
        assert len(part) == expected[f"count{model}"]
        fields = (f"{model}_{field}_top300" for field in ("boxes", "scores", "classes"))
        assert_same_boxes("ensemble", part, Boxes(*(expected[field] for field in fields)))
    merged = merge_boxes(parts, IMAGE.shape[:2])
    assert len(merged) == expected["count_merged"]
    fields = (f"merged_{field}_top300" for field in ("boxes", "scores", "classes"))
    assert_same_boxes("ensemble", merged, Boxes(*(expected[field] for field in fields)))
    (chosen, _), (same, _) = drawn
    assert chosen is same
    compare("ensemble", chosen.boxes, "mask_stage_boxes", PIXELS, expected)
    masks = [probabilities for _, probabilities in drawn]
    for model, mask in zip("AB", masks, strict=True):
        compare("ensemble", mask[:10], f"mask{model}_first10", TENSOR, expected)
    compare("ensemble", np.mean(masks, axis=0)[:10], "mask_mean_first10", TENSOR, expected)
    pasted = mean_masks(chosen, masks, IMAGE.shape[:2])
    assert_same_masks("ensemble", pasted, expected["prenms_mask_bits"])
    compare("ensemble", final.boxes, "final_boxes", PIXELS, expected)
    compare("ensemble", final.scores, "final_scores", TENSOR, expected)
    assert final.labels.tolist() == expected["final_classes"].tolist()
    assert_same_masks("ensemble", final, expected["final_mask_bits"])
