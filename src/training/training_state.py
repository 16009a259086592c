"""What a checkpoint holds of an unfinished training, checked before a run goes on with it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from utils.script import InputError
from utils.weights import check_weights

BEST_NAME = re.compile(r"best_mAP_iter_\d+\.pth", re.ASCII)  # a file in the run's own folder
PARTS = {"optimizer", "weights"}
REMEDY = "use --load_from instead, which takes its weights only"


def check_training_state(checkpoint: Mapping, path: str) -> None:
    """Check the kinds of values; the best checkpoint's name among them, since that file is deleted.

    Raises:
        InputError: there is no training state, or it is damaged.
    """
    meta = checkpoint["meta"]
    if not PARTS <= checkpoint.keys() or not {"iter", "run"} <= meta.keys():
        raise InputError(f"--resume {path}: holds no training state; use --load_from instead")
    try:
        check_weights(checkpoint["weights"])
        _check_progress(meta)
    except (TypeError, ValueError) as error:
        raise InputError(f"--resume {path}: damaged ({error}); {REMEDY}") from error


def _check_progress(meta: Mapping) -> None:
    best = meta.get("hook_msgs")
    if type(meta["iter"]) is not int or not 0 <= meta["iter"] < 2**40:
        raise ValueError("its iteration is no number")
    if not isinstance(meta["run"], dict) or not isinstance(best, dict):
        raise TypeError("its description of the run is no dict")
    name = best.get("best_ckpt")
    if name is not None and not (isinstance(name, str) and BEST_NAME.fullmatch(name)):
        raise ValueError("its best checkpoint has an impossible name")
    score = best.get("best_score", 0.0)
    if not isinstance(score, int | float) or not -1 <= score <= 1:
        raise ValueError("its best score is no number from 0 to 1")


def load_optimizer(optimizer: torch.optim.Optimizer, state: object, path: str) -> None:
    """Take over an optimizer's state.

    Raises:
        InputError: it is not that of this optimizer.
    """
    try:
        optimizer.load_state_dict(state)
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, torch.Tensor) and value.shape not in (parameter.shape, ()):
                    raise ValueError(f"{name} of {tuple(value.shape)}")
    except Exception as error:  # torch raises many kinds for what it does not expect
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--resume {path}: its optimizer does not fit ({reason}); {REMEDY}"
        ) from error
