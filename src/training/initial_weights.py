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
POINT_HEAD = "point_head"  # PointRend's, whose layers also take the coarse score of every class


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
        given = source.get(name)
        places = None if given is None else _by_class(name, value, given, theirs, class_names)
        if places is not None:
            fill, take = places
            value[fill] = given[take].to(value.dtype)
        elif given is not None and given.shape == value.shape:
            value.copy_(given)
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


def _by_class(
    name: str,
    target: torch.Tensor,
    source: torch.Tensor,
    theirs: Sequence[str],
    ours: Sequence[str],
) -> tuple[tuple, tuple] | None:
    """Indices to fill and indices to take, or None for a layer to be taken as a whole, if at all.

    Rows of a last layer belong to classes, and columns of every layer of PointRend's point head.
    """
    rows = _rows_by_class(name, target, source, theirs, ours)
    columns = _columns_by_class(name, target, source, theirs, ours)
    if columns is None:
        fits = rows is not None and target.shape[1:] == source.shape[1:]
        return ((rows[0],), (rows[1],)) if fits else None
    if rows is None:
        rows = list(range(len(target))), list(range(len(source)))
    if len(rows[0]) != len(rows[1]) or target.shape[2:] != source.shape[2:]:
        return None
    fill, take = (
        (torch.tensor(own_rows)[:, None], torch.tensor(own_columns))
        for own_rows, own_columns in zip(rows, columns, strict=True)
    )
    return fill, take


def _columns_by_class(name, target, source, theirs, ours) -> tuple[list[int], list[int]] | None:
    """Columns of the features and, behind them, of the classes' coarse scores."""
    if POINT_HEAD not in name or target.ndim < 2:
        return None
    features = target.shape[1] - len(ours)
    if features <= 0 or features != source.shape[1] - len(theirs):
        return None
    same = list(range(features))
    fill, take = _of_known_classes(1, theirs, ours)
    return same + [features + i for i in fill], same + [features + i for i in take]


def _rows_by_class(name, target, source, theirs, ours) -> tuple[list[int], list[int]] | None:
    """Rows to fill and rows to take, or None for a layer without rows of classes."""
    layer = name.split(".")[-2] if "." in name else ""
    for size, background in CLASS_LAYERS.get(layer, ()):
        expected = size * len(ours) + background, size * len(theirs) + background
        if (len(target), len(source)) == expected:
            break
    else:
        return None  # one for all classes
    if not background and len(ours) == len(theirs) == 1:
        return None  # what is inside a box does not depend on what it is called
    fill, take = _of_known_classes(size, theirs, ours)
    if background:
        fill.append(len(target) - 1)
        take.append(len(source) - 1)
    return fill, take


def _of_known_classes(
    size: int, theirs: Sequence[str], ours: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Places of the classes that both know, `size` for each: ours, and theirs."""
    fill, take = [], []
    for label, class_name in enumerate(ours):
        if class_name in theirs:
            start, other = label * size, theirs.index(class_name) * size
            fill += range(start, start + size)
            take += range(other, other + size)
    return fill, take
