"""Checkpoints: plain data that describes its own model; nothing in them is ever executed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import mmdet
import torch
from torch import nn

from utils.script import InputError, atomic_path

CHECKPOINT_FORMAT = "cell-instance-segmentation/1"
DESCRIPTION = {"model", "inference", "class_names"}  # of `meta`, see `describe_model`


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


def save_checkpoint(path: str | Path, checkpoint: dict, compress: bool = False) -> None:
    """Write `checkpoint` atomically; compressed it is a tenth smaller and reads as before."""
    with atomic_path(path) as temporary:
        torch.save(checkpoint, temporary)
        if compress:
            _deflate(temporary)


def _deflate(path: Path) -> None:
    """Compress the entries of torch's zip file, which it stores as they are."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _is_uncompressed(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def load_checkpoint(path: str | Path) -> dict:
    """Read a self-describing checkpoint onto the CPU without executing anything in it.

    Raises:
        InputError: missing, not readable as plain data, or without model description.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file; check the path")
    try:
        # mapped into memory, weights are read when they are used, and take no memory of their own
        checkpoint = torch.load(
            path, map_location="cpu", weights_only=True, mmap=_is_uncompressed(path)
        )
    except Exception as error:  # torch raises many kinds for damaged or foreign files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a readable checkpoint ({reason}); use one written by train_cis.py"
        ) from error
    meta = checkpoint.get("meta") if isinstance(checkpoint, dict) else None
    described = isinstance(meta, dict) and meta.get("format") == CHECKPOINT_FORMAT
    if not (described and DESCRIPTION <= meta.keys() and "state_dict" in checkpoint):
        raise InputError(
            f"{path}: carries no model description; use a checkpoint written by train_cis.py"
        )
    return checkpoint


def load_weights(
    model: nn.Module, state_dict: dict, path: str | Path, assign: bool = False
) -> None:
    """Load weights strictly; half-precision ones are converted to the model's dtype.

    Args:
        model: its names and shapes have to be those of `state_dict`.
        state_dict: weights by name.
        path: for messages.
        assign: take the tensors instead of copying them, which saves memory; not for a model whose
            parameters an optimizer knows already.

    Raises:
        InputError: names or shapes differ from the model's.
    """
    dtypes = {name: value.dtype for name, value in model.state_dict().items()}
    converted = {name: value.to(dtypes.get(name)) for name, value in state_dict.items()}
    try:
        model.load_state_dict(converted, assign=assign)
    except RuntimeError as error:
        first = " ".join(str(error).split()[:30])
        raise InputError(f"{path}: weights do not fit the model ({first} ...)") from error
