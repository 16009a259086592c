"""The 2nd-level model: it predicts each instance's IoU, which becomes the instance's score."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoostError, CatBoostRegressor

from cells.instances import Instances
from second_level.features.table import FEATURE_NAMES, compute_features
from utils.pickles import ARRAY_STAND_INS, read_pickle
from utils.script import InputError
from utils.trial import survives

MISSING = -1.0  # stands for a missing value in training and prediction
# What a model stores about itself, by name, and what holds for models that do not.
STORED = {"drop_threshold": 0.3, "detection_share": 1.0}
LOSSES = ("RMSE", "MAE", "MAPE", "Huber", "Quantile", "Expectile", "LogCosh", "Lq")
TRIALS = 500  # rows that a loaded model predicts at first
REMEDY = "give a catboost.pkl of train_2nd_level_catboost.py, or a .cbm file"


@dataclass(frozen=True)
class SecondLevel:
    """A trained regressor with the columns that it takes, in their order.

    Attributes:
        drop_threshold: an instance of a lower predicted IoU is dropped.
        detection_share: the models' confidence thresholds are to be lowered to this share of them
            before it, as they were for its training: it can only reject what reaches it.
    """

    model: CatBoostRegressor
    features: tuple[str, ...]
    drop_threshold: float = STORED["drop_threshold"]
    detection_share: float = STORED["detection_share"]

    def predict(self, instances: Instances, image: np.ndarray) -> np.ndarray:
        """Predicted IoU of each instance with its true cell, float64 [N], not clipped.

        Args:
            instances: N instances of one image, labels in the order of the models' classes.
            image: uint8 [height, width, 3], BGR.
        """
        return predict_iou(self.model, compute_features(instances, image, self.features))

    def rescore(self, instances: Instances, image: np.ndarray) -> Instances:
        """Replace the scores by the predicted IoU, drop low ones, and sort, highest first.

        Args:
            instances: N instances of one image, labels in the order of the models' classes.
            image: uint8 [height, width, 3], BGR.
        """
        return apply_iou(instances, self.predict(instances, image), self.drop_threshold)


def predict_iou(model: CatBoostRegressor, table: pd.DataFrame) -> np.ndarray:
    """Prediction for each row of features, float64 [N]."""
    if not len(table):
        return np.zeros(0)
    return model.predict(table.fillna(MISSING).to_numpy(), thread_count=1)


def apply_iou(instances: Instances, iou: np.ndarray, threshold: float) -> Instances:
    """The instances from the threshold on, with their predicted IoU as the score, highest first."""
    scores = np.clip(iou, 0, 1).astype(np.float32)
    rescored = replace(instances, scores=scores)
    return rescored[scores >= np.float32(threshold)].sorted_by_score()


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
    return load_second_level(model, args.second_level_features or feature_list_of(model))


def feature_list_of(model: str) -> Path:
    """Where the feature list of a model is expected: `catboost` becomes `features` in its name."""
    stem = Path(model).stem
    name = stem.replace("catboost", "features") if "catboost" in stem else "features"
    return Path(model).with_name(f"{name}.csv")


def load_second_level(model_path: str | Path, features_path: str | Path) -> SecondLevel:
    """Load a model and its feature list, and check that they belong together.

    Raises:
        InputError: a file is missing, damaged or hostile, a feature is unknown, or the list is not
            the model's.
    """
    features = load_features(features_path)
    model = load_model(model_path)
    trained_on = list(model.feature_names_)
    remedy = "give the features.csv that was written with the model"
    if len(trained_on) != len(features):
        raise InputError(
            f"{features_path}: {len(features)} features, but {model_path} was trained on "
            f"{len(trained_on)}; {remedy}"
        )
    # a model that was trained on an unnamed array calls its columns 0, 1, 2 ...
    if trained_on != list(features) and trained_on != [str(i) for i in range(len(features))]:
        place = next(i for i, name in enumerate(features) if name != trained_on[i])
        raise InputError(
            f"{features_path}: feature {place + 1} is {features[place]}, but {model_path} has "
            f"{trained_on[place]} there; {remedy}"
        )
    return SecondLevel(model, features, **stored_values(model, model_path))


def stored_values(model: CatBoostRegressor, path: str | Path) -> dict[str, float]:
    """What a model stores about itself, see `SecondLevel`.

    Raises:
        InputError: it stores something else than numbers from 0 to 1.
    """
    values = {}
    for name, default in STORED.items():
        text = model.get_metadata().get(name, str(default))
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = -1.0
        if not 0 <= values[name] <= 1:
            raise InputError(f"{path}: stores {name} {text!r:.20}, not 0 to 1; {REMEDY}")
    return values


def load_features(path: str | Path) -> tuple[str, ...]:
    """Read a feature list: a CSV with the column `features`.

    Raises:
        InputError: the file is missing or no such list, or holds an unknown name or one twice.
    """
    remedy = "give the features.csv of train_2nd_level_catboost.py"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such feature list; {remedy}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a CSV file ({error}); {remedy}") from error
    if not rows or "features" not in rows[0]:
        raise InputError(f"{path}: no column 'features'; {remedy}")
    position = rows[0].index("features")
    if not rows[1:] or any(len(row) != len(rows[0]) for row in rows):
        raise InputError(f"{path}: no features, or rows of different lengths; {remedy}")
    names = tuple(row[position] for row in rows[1:])
    for name in names:
        if name not in FEATURE_NAMES:
            raise InputError(f"{path}: unknown feature {name!r}; {remedy}")
        if names.count(name) > 1:
            raise InputError(f"{path}: feature {name!r} is listed twice; {remedy}")
    return names


def load_model(path: str | Path) -> CatBoostRegressor:
    """Load a pickled CatBoostRegressor, or CatBoost's own format (`.cbm`).

    Of a pickle only the trees are taken, as CatBoost's own bytes; nothing in it is executed. Some
    damaged trees crash CatBoost (4 % of flipped bits), so that a copy of the process tries first.

    Raises:
        InputError: the file is missing, truncated, damaged, hostile, or no regressor of one value
            from numbers.
    """
    path = Path(path)
    try:
        content = path.read_bytes() if path.suffix == ".cbm" else _trees(path)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}); {REMEDY}") from error
    if not survives(lambda: _load_blob(content)):
        raise InputError(f"{path}: no usable model (CatBoost crashes on it); {REMEDY}")
    try:
        return _load_blob(content)
    except CatBoostError as error:
        raise InputError(f"{path}: no usable model (CatBoost cannot read it); {REMEDY}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no usable model ({error}); {REMEDY}") from error


def _load_blob(content: bytes) -> CatBoostRegressor:
    """A model out of CatBoost's own bytes, which has predicted something.

    Raises:
        CatBoostError: damaged.
        KeyError, TypeError, ValueError: no regressor, or one of other features than numbers.
    """
    model = CatBoostRegressor()
    model.load_model(blob=content)
    loss = json.loads(model.get_metadata()["params"])["loss_function"]["type"]
    if loss not in LOSSES:
        raise ValueError(f"it was trained with {loss}, which predicts no IoU")
    others = (
        model.get_cat_feature_indices(),
        model.get_text_feature_indices(),
        model.get_embedding_feature_indices(),
    )
    if any(others):
        raise ValueError("it takes other features than numbers")
    rows = np.random.default_rng(0).normal(scale=100, size=(TRIALS, len(model.feature_names_)))
    predicted = model.predict(rows, thread_count=1)
    if np.shape(predicted) != (TRIALS,) or not np.isfinite(predicted).all():
        raise ValueError("it does not predict one number a row")
    return model


class _PickledRegressor:
    """Stand-in for `catboost.CatBoostRegressor`; `state` is the dict that it was pickled with."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


STAND_INS = {**ARRAY_STAND_INS, ("catboost.core", "CatBoostRegressor"): _PickledRegressor}


def _trees(path: Path) -> bytes:
    """The model in CatBoost's own format, out of a pickle."""
    pickled = read_pickle(path, STAND_INS, REMEDY)
    state = pickled.state if isinstance(pickled, _PickledRegressor) else None
    content = state.get("__model") if isinstance(state, dict) else None
    if not isinstance(content, bytes):
        raise InputError(f"{path}: holds no trained CatBoostRegressor; {REMEDY}")
    return content
