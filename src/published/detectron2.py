"""Detectron2 checkpoints of the published architecture, read as data and renamed for mmdet.

The target is `configs/cascade_mask_rcnn_resnest200_dcn.py`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from utils.pickles import ARRAY_STAND_INS, PickledArray, check_tensor_pickle, read_pickle
from utils.script import InputError
from utils.weights import check_weights

REMEDY = "give a Detectron2 checkpoint (model_final.pth) of the published architecture"
BLOCKS = (3, 24, 36, 3)  # of the four stages of ResNeSt-200
CASCADE_STAGES = 3
MOST_CLASSES = 1000

# Parameters and buffers of a convolution before a norm, of a norm, and of any other layer.
CONV = ("weight",)
NORM = ("weight", "bias", "running_mean", "running_var")
LAYER = ("weight", "bias")


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a `.pth` (with `model`, or a plain state dict) or a `.pkl` of arrays, executing nothing.

    Raises:
        InputError: the file is missing, truncated, hostile, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; {REMEDY}")
    content = read_pickle(path, ARRAY_STAND_INS, REMEDY) if path.suffix == ".pkl" else _load(path)
    weights = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise InputError(f"{path}: holds no weights; {REMEDY}")
    tensors = {name: _to_tensor(value) for name, value in weights.items()}
    try:
        check_weights(tensors)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}; {REMEDY}") from error
    return tensors


def _to_tensor(value: object) -> object:
    """Arrays as tensors; anything else, which `check_weights` refuses, as it is."""
    array = getattr(value, "array", None) if isinstance(value, PickledArray) else None
    return value if array is None else torch.from_numpy(array.copy())  # what was read is constant


def _load(path: Path) -> object:
    names = [(value, f"{module}.{name}") for (module, name), value in ARRAY_STAND_INS.items()]
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    check_tensor_pickle(archive.read(name))
        with torch.serialization.safe_globals(names):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds for damaged or foreign files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not readable ({reason}); {REMEDY}") from error


def count_classes(weights: Mapping[str, torch.Tensor], path: str | Path) -> int:
    """Classes that the box heads tell apart, without background.

    Raises:
        InputError: the file has no such heads.
    """
    name = "roi_heads.box_predictor.0.cls_score.weight"
    if name not in weights:
        raise InputError(f"{path}: lacks {name}; {REMEDY}")
    count = len(weights[name]) - 1 if weights[name].dim() else 0
    if not 1 <= count <= MOST_CLASSES:
        raise InputError(f"{path}: {name} is of {count} classes; {REMEDY}")
    return count


def convert_weights(
    source: Mapping[str, torch.Tensor],
    target: Mapping[str, torch.Tensor],
    constants: Mapping[str, torch.Tensor],
    path: str | Path,
) -> dict[str, torch.Tensor]:
    """Rename Detectron2's weights for mmdet: every one is used once, every one of mmdet's is set.

    Args:
        source: weights by Detectron2's names.
        target: `state_dict` of the mmdet model; only names and shapes are looked at.
        constants: what `source` may hold besides, by Detectron2's names; it has to agree.
        path: for messages.

    Returns:
        Weights by mmdet's names, float32.

    Raises:
        InputError: a weight is unknown, missing, of another shape, or a constant differs.
    """
    names = dict(weight_names())
    shaped = {
        new: _block_diagonal(source[old].float(), target[new].shape)
        for old, new in names.items()
        if old in source
    }
    problems = {
        "unknown": [name for name in source if name not in names and name not in constants],
        "missing": [old for old in names if old not in source],
        "of another shape": [
            f"{old} {list(source[old].shape)}"
            for old, new in names.items()
            if new in shaped and shaped[new].shape != target[new].shape
        ],
        "other than the configuration says": [
            name
            for name, value in constants.items()
            if name in source and not _agree(source[name], value)
        ],
    }
    found = [f"{what}: {_first(items)}" for what, items in problems.items() if items]
    if found:
        raise InputError(f"{path}: {'; '.join(found)}; {REMEDY}")
    return shaped


def _agree(value: torch.Tensor, expected: torch.Tensor) -> bool:
    value = value.float().flatten()
    return len(value) == expected.numel() and torch.allclose(value, expected.flatten(), atol=1e-3)


def _first(names: list[str], count: int = 5) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _block_diagonal(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Dense weights that do what the grouped convolution `weight` does; others as they are.

    Args:
        weight: [O, C / groups, kh, kw].
        shape: of the dense convolution, [O, C, kh, kw].
    """
    if weight.dim() != 4 or len(shape) != 4 or len(weight) != shape[0]:
        return weight
    if not 0 < weight.shape[1] < shape[1] or shape[1] % weight.shape[1]:
        return weight
    columns = weight.shape[1]
    groups = shape[1] // columns
    rows = len(weight) // groups
    dense = weight.new_zeros(len(weight), shape[1], *weight.shape[2:])
    for i in range(groups):
        block = slice(i * rows, (i + 1) * rows)
        dense[block, i * columns : (i + 1) * columns] = weight[block]
    return dense


def weight_names() -> Iterator[tuple[str, str]]:
    """All parameters and buffers: Detectron2's name and mmdet's."""
    for old, new, parts in (*_backbone(), *_neck(), *_rpn_head(), *_box_heads(), *_mask_head()):
        for part in parts:
            yield f"{old}.{part}", f"{new}.{part}"


def _normed(old: str, conv: str, norm: str) -> Iterator[tuple[str, str, tuple]]:
    """A convolution with its norm, which Detectron2 keeps inside of it."""
    yield old, conv, CONV
    yield f"{old}.norm", norm, NORM


def _conv_module(old: str, new: str) -> Iterator[tuple[str, str, tuple]]:
    yield from _normed(old, f"{new}.conv", f"{new}.bn")


def _backbone() -> Iterator[tuple[str, str, tuple]]:
    for i in range(3):
        old = f"backbone.bottom_up.stem.conv1_{i + 1}"
        yield from _normed(old, f"backbone.stem.{3 * i}", f"backbone.stem.{3 * i + 1}")
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            old = f"backbone.bottom_up.res{stage + 1}.{block}"
            yield from _block(old, f"backbone.layer{stage}.{block}", stage, block)


def _block(old: str, new: str, stage: int, block: int) -> Iterator[tuple[str, str, tuple]]:
    if block == 0:
        # 0 is the average pooling of the stride
        yield from _normed(f"{old}.shortcut", f"{new}.downsample.1", f"{new}.downsample.2")
    for i in (1, 3):
        yield from _normed(f"{old}.conv{i}", f"{new}.conv{i}", f"{new}.bn{i}")
    yield f"{old}.conv2.conv", f"{new}.conv2.conv", CONV
    for i in (0, 1):
        yield f"{old}.conv2.bn{i}", f"{new}.conv2.bn{i}", NORM
    for i in (1, 2):
        yield f"{old}.conv2.fc{i}", f"{new}.conv2.fc{i}", LAYER
    if stage > 1:
        yield f"{old}.conv2_offset", f"{new}.conv2.conv.conv_offset", LAYER


def _neck() -> Iterator[tuple[str, str, tuple]]:
    for kind in ("lateral", "output"):
        renamed = "lateral_convs" if kind == "lateral" else "fpn_convs"
        for i in range(len(BLOCKS)):
            yield from _conv_module(f"backbone.fpn_{kind}{i + 2}", f"neck.{renamed}.{i}")


def _rpn_head() -> Iterator[tuple[str, str, tuple]]:
    for old, new in (("conv", "conv"), ("objectness_logits", "cls"), ("anchor_deltas", "reg")):
        yield f"proposal_generator.rpn_head.{old}", f"rpn_head.rpn_{new}", LAYER


def _box_heads() -> Iterator[tuple[str, str, tuple]]:
    for stage in range(CASCADE_STAGES):
        old, new = f"roi_heads.box_head.{stage}", f"roi_head.bbox_head.{stage}"
        for i in range(4):
            yield from _conv_module(f"{old}.conv{i + 1}", f"{new}.shared_convs.{i}")
        yield f"{old}.fc1", f"{new}.shared_fcs.0", LAYER
        predictor = f"roi_heads.box_predictor.{stage}"
        yield f"{predictor}.cls_score", f"{new}.fc_cls", LAYER
        yield f"{predictor}.bbox_pred", f"{new}.fc_reg", LAYER


def _mask_head() -> Iterator[tuple[str, str, tuple]]:
    old, new = "roi_heads.mask_head", "roi_head.mask_head.0"
    for i in range(8):
        yield from _conv_module(f"{old}.mask_fcn{i + 1}", f"{new}.convs.{i}")
    yield f"{old}.deconv", f"{new}.upsample", LAYER
    yield f"{old}.predictor", f"{new}.conv_logits", LAYER
