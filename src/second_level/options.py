"""Command-line options of the 2nd-level model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from utils.script import InputError

if TYPE_CHECKING:
    from second_level.model import SecondLevel


def second_level_from(args: argparse.Namespace, default: str | None = None) -> SecondLevel | None:
    """Load the 2nd-level model that the options name.

    Args:
        args: options of `add_second_level_arguments`.
        default: model to use where the options name none.

    Raises:
        InputError: a feature list without model, or files that are missing or do not fit.
    """
    model = args.second_level_model or default
    if args.second_level_features and not model:
        raise InputError("--2nd_level_features: give --2nd_level_model, too")
    if not model:
        return None
    from second_level.model import load_second_level

    return load_second_level(model, args.second_level_features or usual_features(model))


def usual_features(model: str) -> Path:
    """Where the feature list of a model is expected: `catboost` becomes `features` in its name."""
    stem = Path(model).stem
    name = stem.replace("catboost", "features") if "catboost" in stem else "features"
    return Path(model).with_name(f"{name}.csv")
