"""Building mmdet detectors and choosing what they compute in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv import Config
from mmcv.runner import BaseModule
from mmdet.models import build_detector
from mmdet.models.backbones.resnest import SplitAttentionConv2d
from mmdet.models.backbones.swin import WindowMSA
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import nn

import network.point_rend  # noqa: F401  (registers its heads)
import network.roi_heads  # noqa: F401  (registers its heads)
from network.modules import all_losses, select_proposals, split_attention
from network.roi_align import extract, is_supported
from network.window_attention import window_attention
from utils.script import InputError


def build_model(model_config: dict, source: str = "--config") -> nn.Module:
    """Build a detector with a mask head from an mmdet `model` config, with random weights.

    Args:
        model_config: trusted; one from a file has to be checked first (see `descriptions`).
        source: the file or flag that it comes from, for messages.

    Raises:
        InputError: the config is not one of a detector with boxes and masks.
    """
    model_config = Config(dict(model=model_config)).model
    try:
        model = build_detector(model_config)
    except Exception as error:  # mmdet raises whatever its modules raise
        raise InputError(
            f"{source}: mmdet cannot build its model ({error}); correct the `model` in it"
        ) from error
    if not (getattr(model, "with_mask", False) and getattr(model, "with_rpn", False)):
        raise InputError(
            f"{source}: {type(model).__name__} is not a two-stage detector with a mask head; "
            "use one such as Mask R-CNN"
        )
    for module in model.modules():
        if isinstance(module, SplitAttentionConv2d):
            module.forward = partial(split_attention, module)
        elif isinstance(module, WindowMSA):
            module.forward = partial(window_attention, module)
        elif isinstance(module, SingleRoIExtractor):
            module.forward = partial(_pool, module, module.forward)
        elif isinstance(module, BBoxHead):
            module.loss = partial(all_losses, module.loss)
        elif type(module) is RPNHead:
            module._get_bboxes_single = partial(select_proposals, module)
    return model


def _pool(
    extractor: SingleRoIExtractor,
    forward: Callable,
    maps: Sequence[torch.Tensor],
    rois: torch.Tensor,
) -> torch.Tensor:
    """Pool regions of interest, on a CPU by the gather.

    torchvision's operator, for GPUs, knows no bfloat16, and reads channels_last memory as if it
    were contiguous.
    """
    if rois.is_cuda or not is_supported(extractor):
        return forward([features.float().contiguous() for features in maps], rois)
    return extract(extractor, maps, rois)


def set_num_classes(config: dict | list, num_classes: int) -> None:
    """Set every `num_classes` in a model config, in place."""
    children = config if isinstance(config, list) else config.values()
    if isinstance(config, dict) and "num_classes" in config:
        config["num_classes"] = num_classes
    for child in children:
        if isinstance(child, dict | list):
            set_num_classes(child, num_classes)


def forget_pretrained(config: dict | list) -> bool:
    """Replace weights to download by mmdet's default initialisation in a model config, in place.

    Returns:
        Whether there were any.
    """
    children = config if isinstance(config, list) else list(config.values())
    init = config.get("init_cfg") if isinstance(config, dict) else None
    found = isinstance(init, dict) and init.get("type") == "Pretrained"
    if found:
        config["init_cfg"] = None
    parts = [forget_pretrained(child) for child in children if isinstance(child, dict | list)]
    return found or any(parts)


def run_in_dtype(model: nn.Module, dtype: torch.dtype, device_type: str) -> None:
    """Compute the convolutional parts in `dtype`; in place.

    The heads answer in float32: arithmetic on boxes and losses need the precision.
    """
    if dtype == torch.float32:
        return
    heads = (model.rpn_head, *box_and_mask_heads(model))
    for module in convolutional_parts(model):
        answer = to_float32 if module in heads else _as_it_is
        module.forward = _autocast(module.forward, dtype, device_type, answer)


def convolutional_parts(model: nn.Module) -> list[nn.Module]:
    """Backbone, neck and the heads, whose `forward` maps feature maps to feature maps."""
    necks = [model.neck] if model.with_neck else []
    return [model.backbone, *necks, model.rpn_head, *box_and_mask_heads(model)]


def box_and_mask_heads(model: nn.Module) -> list[BaseModule]:
    """The heads behind RoIAlign; a cascade has several of a kind, PointRend one more."""
    kinds = ("bbox_head", "mask_head", "point_head")
    heads = [getattr(model.roi_head, kind) for kind in kinds if hasattr(model.roi_head, kind)]
    return [h for head in heads for h in (head if isinstance(head, nn.ModuleList) else [head])]


def _autocast(
    forward: Callable, dtype: torch.dtype, device_type: str, answer: Callable
) -> Callable:
    def wrapped(*args, **kwargs):
        with torch.autocast(device_type, dtype):
            result = forward(*args, **kwargs)
        return answer(result)

    return wrapped


def _as_it_is(value):
    return value


def to_float32(value):
    """Floating-point tensors, also in lists and tuples, as float32."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(to_float32(item) for item in value)
    return value
