"""Which segmentation models a 2nd-level model belongs to: those that it was trained with.

It knows their mistakes, not those of others. `catboost.json` beside `catboost.pkl` holds the
SHA-256 of their files and of the pickle itself. A file of its own, because the published pickle
must stay as it was downloaded, and because looking for a model then loads no CatBoost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.files import sha256, write_json
from utils.paths import check_weights_exist, in_repository

FOLDER = "2nd_level_model"  # of the repository
MODEL_SUFFIXES = (".pkl", ".cbm")


def hash_weights(paths: Sequence[str]) -> list[str]:
    """SHA-256 of each checkpoint.

    Raises:
        InputError: a file is missing.
    """
    check_weights_exist(paths)
    return [sha256(path) for path in paths]


def pairing_file(model: str | Path) -> Path:
    """`catboost.json` for `catboost.pkl`."""
    return Path(model).with_suffix(".json")


def write_pairing(model: str | Path, weights: Sequence[str]) -> None:
    """Note which models a 2nd-level model belongs to.

    Args:
        model: the 2nd-level model, which is there already.
        weights: SHA-256 of the checkpoints, in any order.

    Raises:
        InputError: the folder cannot be written to.
    """
    write_json(pairing_file(model), {"model_sha256": sha256(model), "weights_sha256": [*weights]})


def find_second_level(weights: Sequence[str], folder: str | Path | None = None) -> str | None:
    """The 2nd-level model that belongs to exactly these models, wherever they lie.

    Args:
        weights: SHA-256 of the checkpoints, in any order.
        folder: where to look; default: the repository's `2nd_level_model`.
    """
    folder = Path(folder or in_repository(FOLDER))
    for path in sorted(folder.glob("*.json")):
        pairing = _read(path)
        if pairing is None or sorted(pairing["weights_sha256"]) != sorted(weights):
            continue
        for model in (path.with_suffix(suffix) for suffix in MODEL_SUFFIXES):
            if model.is_file() and sha256(model) == pairing["model_sha256"]:
                return str(model)
        print(f"{path}: its model is missing or has changed; it is not used", file=sys.stderr)
    return None


def _read(path: Path) -> dict | None:
    """None for other JSON files, such as the training's report."""
    try:
        pairing = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(pairing, dict) or "model_sha256" not in pairing:
        return None
    hashes = pairing.get("weights_sha256")
    valid = isinstance(hashes, list) and all(isinstance(value, str) for value in hashes)
    return pairing if valid else None
