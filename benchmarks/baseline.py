"""What the project is compared with: mmdet as it comes, in float32 with masks as full frames.

- `InferenceDetector`: `mmdet.apis.inference_detector` with one model.
- `TwoPasses`: the solution's ensemble built from such models. Each model's backbone runs twice,
  for the boxes and, after they are merged, for the masks; these are pasted into full frames of
  float32, averaged, and thinned out by a greedy NMS whose IoUs are one matrix product.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import torch
from measuring import timed
from mmcv import Config
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.apis import inference_detector
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from synthetic import answer_with
from torch import nn

from cells.instances import Boxes
from network.checkpoints import load_checkpoint, load_weights
from network.detector import Detector
from network.merging import merge_boxes
from network.models import build_model
from network.scale import network_scale
from utils.stages import StageTimer

MASK_NMS_IOU = 0.1  # the solution's, as in `network.ensemble.PostProcessing`


class InferenceDetector:
    """mmdet's inference of one model, which answers with `cells` after computing its own.

    Stages are timed from inside; what is left to the total is the preparation of the image.
    """

    def __init__(self, path: str, cells: Boxes) -> None:
        detector = plain_detector(path)
        self.model = detector.model
        answer_with(self.model, cells)
        self.model.cfg = _test_config(detector.inference)

    def __call__(self, image: np.ndarray, timer: StageTimer) -> int:
        """Segment one image; returns the number of masks."""
        head = self.model.roi_head
        stages = (
            (self.model, "extract_feat", "backbone"),
            (self.model.rpn_head, "simple_test_rpn", "RPN"),
            (head, "simple_test_bboxes", "box head"),
            (head, "_mask_forward", "mask head"),
            (head.mask_head, "get_seg_masks", "paste"),
        )
        usual = [getattr(owner, method) for owner, method, _ in stages]
        for (owner, method, stage), function in zip(stages, usual, strict=True):
            setattr(owner, method, timed(timer, stage, function))
        _, masks = inference_detector(self.model, image)
        for (owner, method, _), function in zip(stages, usual, strict=True):
            setattr(owner, method, function)
        return sum(map(len, masks))


class TwoPasses:
    """The solution's ensemble, which answers with `cells` after computing its own."""

    def __init__(self, paths: Sequence[str], cells: Boxes) -> None:
        self.detectors = [plain_detector(path) for path in paths]
        for detector in self.detectors:
            answer_with(detector.model, cells)

    def __call__(self, image: np.ndarray, timer: StageTimer) -> int:
        """Segment one image; returns the number of instances that remain."""
        parts = [self._boxes(detector, image, timer) for detector in self.detectors]
        with timer.stage("merge"):
            boxes = merge_boxes(parts, image.shape[:2])
        total = np.zeros((len(boxes), *image.shape[:2]), np.float32)
        for detector in self.detectors:
            features = _features(detector, image, timer)
            with timer.stage("mask head"):
                grids = detector.mask_probabilities(features, boxes.boxes, boxes.labels)
            with timer.stage("paste"):
                total += paste_frames(grids, boxes.boxes, image.shape[:2])
        with timer.stage("paste"):
            total /= len(self.detectors)
        with timer.stage("mask NMS"):
            return len(full_frame_nms(total, boxes.scores))

    def _boxes(self, detector: Detector, image: np.ndarray, timer: StageTimer) -> Boxes:
        features = _features(detector, image, timer)
        with timer.stage("RPN"):
            proposals = detector.proposals(features)
        with timer.stage("box head"):
            return detector.boxes(features, proposals)


def _features(detector: Detector, image: np.ndarray, timer: StageTimer):
    with timer.stage("prepare"):
        prepared = detector.prepare(image)
    with timer.stage("backbone"):
        (features,) = detector.features([prepared])
    return features


def paste_frames(grids: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """mmdet's pasting, box by box as it does on a CPU: float32 [N, height, width]."""
    frames = torch.zeros(len(boxes), *image_size)
    for frame, grid, box in zip(frames, torch.tensor(grids), torch.tensor(boxes), strict=True):
        pasted, window = _do_paste_mask(grid[None, None], box[None], *image_size, skip_empty=True)
        frame[window] = pasted[0]
    return frames.numpy()


def full_frame_nms(frames: np.ndarray, scores: np.ndarray) -> list[int]:
    """Greedy mask NMS; `frames`, float32 [N, height, width], is overwritten by its masks."""
    flat = np.greater_equal(frames, 0.5, out=frames, casting="unsafe").reshape(len(frames), -1)
    shared = flat @ flat.T
    areas = shared.diagonal()
    iou = shared / np.maximum(areas[:, None] + areas - shared, 1)
    alive, kept = areas > 0, []
    for i in np.argsort(-scores, kind="stable").tolist():
        if alive[i]:
            kept.append(i)
            alive &= iou[i] < MASK_NMS_IOU
    return kept


def plain_detector(path: str) -> Detector:
    """A checkpoint's model as mmdet builds it, in float32."""
    checkpoint = load_checkpoint(path)
    meta = checkpoint["meta"]
    model = build_model(json.loads(meta["model"])).eval()
    load_weights(model, checkpoint["state_dict"], path)
    # mmdet's images lie in memory channel by channel
    model.extract_feat = partial(_contiguous, model.extract_feat)
    for usual in (ModulatedDeformConv2dPack, SplitAttentionConv2d):
        use_usual(usual, model)
    return Detector(model, json.loads(meta["inference"]), meta["class_names"], torch.device("cpu"))


def use_usual(usual: type[nn.Module], model: nn.Module) -> None:
    """Let modules of a class of mmcv or mmdet compute as they do there, in place."""
    for module in model.modules():
        if isinstance(module, usual):
            module.forward = partial(usual.forward, module)


def _contiguous(extract_feat: Callable, image: torch.Tensor):
    return extract_feat(image.contiguous())


def _test_config(inference: dict) -> Config:
    """mmdet's usual pipeline for tests, to the same size and grey values."""
    steps = [
        dict(type="Resize", keep_ratio=True),
        dict(
            type="Normalize",
            mean=inference["pixel_mean"],
            std=inference["pixel_std"],
            to_rgb=False,
        ),
        dict(type="Pad", size_divisor=inference["size_divisor"]),
        dict(type="DefaultFormatBundle"),
        dict(type="Collect", keys=["img"]),
    ]
    scale = network_scale(inference)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="MultiScaleFlipAug", scale_factor=scale, flip=False, transforms=steps),
    ]
    return Config(dict(data=dict(test=dict(pipeline=pipeline))))
