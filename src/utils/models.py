"""Building mmdet detectors, the modules that mmdet lacks, and checkpoints that are plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import mmdet
import torch
from mmcv import Config
from mmdet.core.bbox.iou_calculators import BboxOverlaps2D
from mmdet.core.bbox.iou_calculators.builder import IOU_CALCULATORS
from mmdet.models import HEADS, build_detector
from mmdet.models.dense_heads import RPNHead
from torch import nn

from utils.runtime import InputError, atomic_path

CHECKPOINT_FORMAT = "cell-instance-segmentation/1"


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


def build_model(model_config: dict) -> nn.Module:
    """Build a detector with a mask head from an mmdet `model` config, with random weights.

    Raises:
        InputError: the config is not one of a detector with boxes and masks.
    """
    model_config = Config(dict(model=model_config)).model
    try:
        model = build_detector(model_config)
    except Exception as error:  # mmdet raises whatever its modules raise
        raise InputError(
            f"model config: mmdet cannot build it ({error}); check --config"
        ) from error
    if not (getattr(model, "with_mask", False) and getattr(model, "with_rpn", False)):
        raise InputError(
            f"model config: {type(model).__name__} is not a two-stage detector with a mask head; "
            "use one such as Mask R-CNN"
        )
    return model


def set_num_classes(config: dict | list, num_classes: int) -> None:
    """Set every `num_classes` in a model config, in place."""
    children = config if isinstance(config, list) else config.values()
    if isinstance(config, dict) and "num_classes" in config:
        config["num_classes"] = num_classes
    for child in children:
        if isinstance(child, dict | list):
            set_num_classes(child, num_classes)


def run_in_dtype(model: nn.Module, dtype: torch.dtype, device_type: str) -> None:
    """Compute the convolutional parts in `dtype`, with float32 outputs; in place.

    Box arithmetic, RoIAlign and losses stay in float32: mmcv's CPU operators know no bfloat16, and
    coordinates need the digits.
    """
    if dtype == torch.float32:
        return
    for module in convolutional_parts(model):
        module.forward = _autocast(module.forward, dtype, device_type)


def convolutional_parts(model: nn.Module) -> list[nn.Module]:
    """Backbone, neck and the heads, whose `forward` maps feature maps to feature maps."""
    parts = [model.backbone, model.rpn_head]
    if model.with_neck:
        parts.append(model.neck)
    for name in ("bbox_head", "mask_head"):
        head = getattr(model.roi_head, name)
        parts += list(head) if isinstance(head, nn.ModuleList) else [head]
    return parts


def _autocast(forward, dtype: torch.dtype, device_type: str):
    def wrapped(*args, **kwargs):
        with torch.autocast(device_type, dtype):
            return _to_float32(forward(*args, **kwargs))

    return wrapped


def _to_float32(value):
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(_to_float32(item) for item in value)
    return value


def describe_model(
    model_config: dict, inference: dict, class_names: Sequence[str], **extra: object
) -> dict:
    """The `meta` of a checkpoint: all that is needed to build and run the model, as plain data."""
    return {
        "format": CHECKPOINT_FORMAT,
        "model": json.dumps(model_config),
        "inference": json.dumps(inference),
        "class_names": list(class_names),
        "versions": {"torch": str(torch.__version__), "mmdet": mmdet.__version__},
        **extra,
    }


def save_checkpoint(path: str | Path, checkpoint: dict) -> None:
    """Write `checkpoint` atomically."""
    with atomic_path(path) as temporary:
        torch.save(checkpoint, temporary)


def load_checkpoint(path: str | Path) -> dict:
    """Read a self-describing checkpoint onto the CPU without executing anything in it.

    Raises:
        InputError: missing, not readable as plain data, or without model description.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file; check the path")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged or foreign files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a readable checkpoint ({reason}); use one written by train_cis.py"
        ) from error
    meta = checkpoint.get("meta") if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict) or meta.get("format") != CHECKPOINT_FORMAT:
        raise InputError(
            f"{path}: carries no model description; use a checkpoint written by train_cis.py"
        )
    return checkpoint


def load_weights(model: nn.Module, state_dict: dict, path: str | Path) -> None:
    """Load weights strictly; half-precision ones are converted to the model's dtype.

    Raises:
        InputError: names or shapes differ from the model's.
    """
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        first = " ".join(str(error).split()[:30])
        raise InputError(f"{path}: weights do not fit the model ({first} ...)") from error
