"""Weights that a training starts from: the config's own, or those of another checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.error import URLError

import torch
from torch import nn

from network.checkpoints import load_checkpoint
from utils.script import InputError

# Last layers whose rows belong to classes: rows of a class, and of the background behind them.
# PointRend's have one name: of the coarse mask head, 7 x 7 rows a class, and of the points' head.
CLASS_LAYERS = {
    "fc_cls": [(1, 1)],
    "fc_reg": [(4, 0)],
    "conv_logits": [(1, 0)],
    "fc_logits": [(49, 0), (1, 0)],
}


def initialise(model: nn.Module) -> None:
    """Fill a new model with weights as its config says.

    Raises:
        InputError: the published weights that it names are not reachable.
    """
    try:
        model.init_weights()
    except (URLError, OSError) as error:
        raise InputError(
            "the published backbone weights that the config names cannot be downloaded "
            f"({error}); connect to the internet, or pass --from_scratch or --load_from"
        ) from error


def start_from(model: nn.Module, path: str, class_names: Sequence[str]) -> list[str]:
    """Take the weights of a checkpoint where they fit, those of classes by the classes' names.

    Args:
        model: initialised; what the checkpoint lacks stays as it is.
        path: self-describing checkpoint.
        class_names: of the model, by label.

    Returns:
        Lines for the log: which classes and which layers start from random weights.

    Raises:
        InputError: not readable, or of another architecture (another backbone).
    """
    checkpoint = load_checkpoint(path)
    source, target = checkpoint["state_dict"], model.state_dict()
    theirs = tuple(checkpoint["meta"]["class_names"])
    anew = []
    for name, value in target.items():
        rows = _rows_by_class(name, value, source.get(name), theirs, class_names)
        if rows is not None:
            value[rows[0]] = source[name][rows[1]].to(value.dtype)
        elif name in source and source[name].shape == value.shape:
            value.copy_(source[name])
        else:
            anew.append(name)
    # A missing backbone means another architecture, not other classes.
    if any(name.startswith("backbone.") for name in anew):
        raise InputError(f"--load_from {path}: its architecture differs from --config's")
    lines = []
    if theirs != tuple(class_names):
        known = [name for name in class_names if name in theirs]
        new = [name for name in class_names if name not in theirs]
        lines.append(
            f"classes of {path}: {', '.join(theirs)}; taken over by name: "
            f"{', '.join(known) or 'none'}; new: {', '.join(new) or 'none'}"
        )
    if anew:
        lines.append(f"not in {path}, left to random initialisation: {', '.join(anew)}")
    return lines


def licence_of(path: str) -> str | None:
    """What a checkpoint says that its weights, and so those made of them, may be used for."""
    licence = load_checkpoint(path)["meta"].get("licence")
    return licence if isinstance(licence, str) else None


def _rows_by_class(
    name: str,
    target: torch.Tensor,
    source: torch.Tensor | None,
    theirs: Sequence[str],
    ours: Sequence[str],
) -> tuple[list[int], list[int]] | None:
    """Rows to fill and rows to take, or None for a layer without rows of classes."""
    layer = name.split(".")[-2] if "." in name else ""
    if source is None or layer not in CLASS_LAYERS or target.shape[1:] != source.shape[1:]:
        return None
    for size, background in CLASS_LAYERS[layer]:
        expected = size * len(ours) + background, size * len(theirs) + background
        if (len(target), len(source)) == expected:
            break
    else:
        return None  # one for all classes
    if not background and len(ours) == len(theirs) == 1:
        return None  # what is inside a box does not depend on what it is called
    fill, take = [], []
    for label, class_name in enumerate(ours):
        if class_name in theirs:
            start, other = label * size, theirs.index(class_name) * size
            fill += range(start, start + size)
            take += range(other, other + size)
    if background:
        fill.append(len(target) - 1)
        take.append(len(source) - 1)
    return fill, take
