"""Checkpoints: plain data that describes its own model; nothing in them is ever executed."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import mmdet
import torch
from torch import nn

from network.descriptions import check_class_names, check_inference, check_model
from network.models import forget_pretrained
from utils.files import atomic_path
from utils.pickles import check_tensor_pickle
from utils.script import InputError
from utils.weights import check_weights

CHECKPOINT_FORMAT = "cell-instance-segmentation/1"
REMEDY = "use a checkpoint written by train_cis.py"
LARGEST_RATIO = 200  # of unpacked to packed size: weights hardly shrink, a zip bomb a thousandfold


def describe_model(
    model_config: dict, inference: dict, class_names: Sequence[str], **extra: object
) -> dict:
    """The `meta` of a checkpoint: all that is needed to build and run the model, as plain data.

    Pretrained weights that the config names are left out: the checkpoint brings its own.

    Raises:
        InputError: the config has something that no checkpoint may have.
    """
    model_config = deepcopy(model_config)
    forget_pretrained(model_config)
    try:
        check_model(json.loads(json.dumps(model_config)), len(class_names))
        check_inference(json.loads(json.dumps(inference)))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--config: checkpoints of it could not be read ({error}); see MODEL_TYPES in "
            "src/network/descriptions.py"
        ) from error
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
        # a name would go into the file, and torch refuses some, such as those without a suffix
        with open(temporary, "wb") as file:
            torch.save(checkpoint, file)
        if compress:
            _deflate(temporary)


def _deflate(path: Path) -> None:
    """Compress the entries of torch's zip file, which it stores as they are."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def load_checkpoint(path: str | Path) -> dict:
    """Read a self-describing checkpoint onto the CPU without executing anything in it.

    Returns:
        `meta`, checked (see descriptions.py); `state_dict`, tensors by name; and what else it has.

    Raises:
        InputError: missing, not readable as plain data, or without a description that may be used.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint file; check the path")
    try:
        checkpoint = _read(path)
    except Exception as error:  # torch raises many kinds for damaged or foreign files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable checkpoint ({reason}); {REMEDY}") from error
    meta = checkpoint.get("meta") if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict) or meta.get("format") != CHECKPOINT_FORMAT:
        raise InputError(f"{path}: carries no model description; {REMEDY}")
    try:
        _check_content(meta, checkpoint.get("state_dict"))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: no usable checkpoint ({reason}); {REMEDY}") from error
    return checkpoint


def _read(path: Path) -> object:
    """The content of torch's zip file, as plain data and tensors."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > LARGEST_RATIO * path.stat().st_size:
            raise ValueError("it unpacks to far more than weights can")
        for entry in entries:
            if entry.filename.endswith("/data.pkl"):
                check_tensor_pickle(archive.read(entry))
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about archives of TorchScript, which are refused
        # mapped into memory, weights are read when they are used, and take no memory of their own
        return torch.load(path, map_location="cpu", weights_only=True, mmap=stored)


def _check_content(meta: dict, state_dict: object) -> None:
    """Raises KeyError, TypeError, ValueError or RecursionError where something does not fit."""
    check_class_names(meta["class_names"])
    check_model(json.loads(meta["model"]), len(meta["class_names"]))
    check_inference(json.loads(meta["inference"]))
    check_weights(state_dict)


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
