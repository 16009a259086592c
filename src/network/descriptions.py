"""What a checkpoint may say about its model: known types, plain numbers, no files or addresses.

A description comes out of a file that may be anybody's. mmdet would build every type that it knows
of: one of them executes a Python file that the description names, and `test_cfg` can name a
function that mmcv hands to `eval`. So only the types below are built, and words that could name
something outside of the description are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules import module as registration

from cells.grey import GreyRule
from cells.masks import MASK_THRESHOLD

# Every type that a description may name: of mmdet, mmcv, torch, or of network/modules.py. Before
# one is added, look whether its constructor reads a file, an address, or code.
MODEL_TYPES = frozenset(
    """
    MaskRCNN CascadeRCNN PointRend
    ResNet ResNetV1d ResNeXt ResNeSt Res2Net RegNet HRNet EfficientNetLite EfficientNetLite0
    SwinTransformer ContextBlock
    FPN PAFPN BFP HRFPN
    RPNHead FinestTwiceRPNHead
    StandardRoIHead CascadeRoIHead OneMaskHeadCascadeRoIHead
    PointRendRoIHead CellPointRendRoIHead
    SingleRoIExtractor GenericRoIExtractor RoIAlign SimpleRoIAlign
    BBoxHead ConvFCBBoxHead Shared2FCBBoxHead Shared4Conv1FCBBoxHead ProbabilityBBoxHead
    FCNMaskHead CoarseMaskHead MaskPointHead CropMaskPointHead
    AnchorGenerator DeltaXYWHBBoxCoder UpperClampedBBoxCoder
    MaxIoUAssigner SparingAssigner BboxOverlaps2D BlockedBboxOverlaps2D
    RandomSampler OHEMSampler InstanceBalancedPosSampler IoUBalancedNegSampler CombinedSampler
    CrossEntropyLoss CrossEntropyDiceLoss FocalLoss L1Loss SmoothL1Loss BalancedL1Loss
    IoULoss BoundedIoULoss GIoULoss DIoULoss CIoULoss DiceLoss
    BN SyncBN GN LN IN Conv Conv1d Conv2d ConvWS ConvAWS DCNv2 PortableDCNv2 Linear
    ReLU LeakyReLU PReLU ReLU6 GELU Swish HSwish Sigmoid Tanh Dropout DropPath
    deconv nearest bilinear pixel_shuffle zero reflect replicate
    nms Kaiming Xavier Normal TruncNormal Uniform Constant Caffe2Xavier
    """.split()
)
OUTSIDE = re.compile(
    r"pretrained|checkpoint|ckpt|config|teacher|file|url|(^|_)(path|dir)s?$", re.IGNORECASE
)
WORD = re.compile(r"\w{0,40}", re.ASCII)  # cannot be a path, an address or an expression
LARGEST = 10_000  # channels, sizes and repetitions of anything
LARGEST_COUNT = 10**7  # boxes, under the names below
COUNTS = {"num", "nms_pre", "nms_post", "max_num", "max_per_img", "subdivision_num_points"}
MADE_PER_KEPT = 3  # parameters made while a model is built, and those that stay; ResNeSt has 1.5
DEEPEST = 30  # levels of lists and dicts
RESIZES = ("opencv", "pillow")
MASK_THRESHOLD_RANGE = 0.01, 0.99  # at 0 and 1 all pixels would be alike


def check_model(model: object, class_count: int) -> None:
    """Check a description from a file, without building anything.

    Args:
        model: an mmdet `model` config as JSON gives it.
        class_count: number of class names that come with it.

    Raises:
        ValueError: says what in it is refused.
    """
    if not isinstance(model, dict) or not isinstance(model.get("roi_head"), dict):
        raise ValueError("it describes no detector with a roi_head")
    _check(model, "model", 0)
    counts = set(_values(model["roi_head"], "num_classes"))
    if counts != {class_count}:
        raise ValueError(f"{class_count} class names, but num_classes is {sorted(counts)}")


def _check(value: object, name: str, depth: int) -> None:
    """Refuse what could reach outside of the description, or ask for too much."""
    if depth > DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if OUTSIDE.search(key) and item is not None:
                raise ValueError(f"'{key}' could name a file or an address, which is refused")
            if key == "type" and not (isinstance(item, str) and item in MODEL_TYPES):
                raise ValueError(f"the type {item!r:.60} is not among those that are built")
            _check(item, key, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, name, depth + 1)
    elif isinstance(value, str):
        if not WORD.fullmatch(value):
            raise ValueError(f"'{name}' is {value!r:.60}, which is not a plain word")
    elif isinstance(value, int | float):
        largest = LARGEST_COUNT if name in COUNTS else LARGEST
        if not abs(value) <= largest:  # NaN is not, either
            raise ValueError(f"'{name}' is {value!r:.20}, out of range")


def _values(value: object, wanted: str) -> Iterator[object]:
    """All that stands under the key `wanted`, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == wanted:
                yield item
            else:
                yield from _values(item, wanted)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, wanted)


def check_class_names(names: object) -> None:
    """Raise a ValueError unless `names` is a list of different texts, one or more."""
    if not isinstance(names, list) or not names:
        raise ValueError("class_names is not a list of names")
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("class_names holds something else than names")
    if len(set(names)) < len(names):
        raise ValueError("class_names holds a name twice")


def check_inference(inference: object) -> None:
    """Check how a checkpoint says that images are prepared (configs/_base_/cells.py, scale.py).

    Raises:
        ValueError: says what is missing or out of range.
    """
    if not isinstance(inference, dict):
        raise ValueError("inference is not a dict")
    sides = ("short_side", "long_side")
    _need_numbers(inference, ("size_divisor",), 1, 1024, whole=True)
    _need_numbers(inference, ("scale",) if "scale" in inference else sides, 1e-3, LARGEST)
    known = [name for name in sides if name in inference]
    _need_numbers(inference, known, 1, LARGEST, whole=True)
    if len(known) == 2 and inference["short_side"] > inference["long_side"]:
        raise ValueError("inference: 'short_side' is larger than 'long_side'")
    if "pixel_size" in inference:
        _need_numbers(inference, ("pixel_size",), 1e-6, 1e6)
    _need_list(inference, "pixel_mean", 3, -1e6)
    _need_list(inference, "pixel_std", 3, 1e-6)
    if "label_offset" in inference:
        _need_list(inference, "label_offset", 2, -1e6)
    if "field" in inference:
        _need_list(inference, "field", 2, 1)
    if inference.get("resize", RESIZES[0]) not in RESIZES:
        raise ValueError(f"inference: 'resize' is none of {', '.join(RESIZES)}")
    diameters = inference.get("cell_diameter", {})
    if not isinstance(diameters, dict):
        raise ValueError("inference: 'cell_diameter' is not a dict")
    _need_numbers(diameters, diameters, 1e-3, 1e6)
    if inference.get("grey") is not None:
        if not isinstance(inference["grey"], dict):
            raise ValueError("inference: 'grey' is not a dict")
        GreyRule.from_dict(inference["grey"])
    thresholds = mask_thresholds(inference)
    if not isinstance(thresholds, dict) or "default" not in thresholds:
        raise ValueError("inference: 'mask_threshold' lacks the default threshold")
    _need_numbers(thresholds, thresholds, *MASK_THRESHOLD_RANGE)
    if "box_merging" in inference:
        merging = inference["box_merging"]
        if not isinstance(merging, dict):
            raise ValueError("inference: 'box_merging' is not a dict")
        votes = merging.get("voting_iou") is not None
        _need_numbers(merging, ("nms_iou", "voting_iou") if votes else ("nms_iou",), 0, 1)
    confidence = inference.get("confidence")
    if not isinstance(confidence, dict) or "default" not in confidence:
        raise ValueError("inference: 'confidence' lacks the default threshold")
    _need_numbers(confidence, confidence, 0, 1)


def mask_thresholds(inference: dict) -> dict[str, float]:
    """Least probability of a foreground pixel by class name; checkpoints may hold one for all."""
    thresholds = inference.get("mask_threshold", MASK_THRESHOLD)
    return thresholds if isinstance(thresholds, dict) else {"default": thresholds}


def _need_numbers(
    values: dict, names: Iterable[str], least: float, largest: float, whole: bool = False
) -> None:
    for name in names:
        value = values.get(name)
        if not _is_number(value, least, largest) or (whole and value % 1):
            kind = "whole number" if whole else "number"
            raise ValueError(f"inference: '{name}' is no {kind} from {least:g} to {largest:g}")


def _need_list(inference: dict, name: str, count: int, least: float) -> None:
    values = inference.get(name)
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"inference: '{name}' is not a list of {count} numbers")
    if not all(_is_number(value, least, 1e6) for value in values):
        raise ValueError(f"inference: '{name}' is out of range")


def _is_number(value: object, least: float, largest: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and least <= value <= largest


@contextmanager
def parameter_limit(held: int) -> Iterator[None]:
    """Stop building a model as soon as it has made far more parameters than a file holds.

    A few characters can ask for more memory than there is; the weights of a file are as large as
    the model that they are for. (Some constructors of mmdet make a layer and then a better one.)

    Args:
        held: number of weights in the file.

    Raises:
        ValueError: out of the constructor that goes too far.
    """
    built = 0

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal built
        built += 0 if parameter is None else parameter.numel()
        if built > MADE_PER_KEPT * held:
            raise ValueError(f"it asks for far more than the {held} weights that the file holds")

    handle = registration.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
