"""2nd-level models that are damaged, or predict something else than an IoU."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from catboost import CatBoostClassifier, CatBoostRegressor
from helpers import ROOT

from second_level.model import load_model
from utils.script import InputError

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(40, 3))
SETTINGS = {"iterations": 3, "depth": 2, "verbose": False, "allow_writing_files": False}


@pytest.fixture(scope="module")
def blob(tmp_path_factory) -> bytes:
    """The bundled trees in CatBoost's own format."""
    path = tmp_path_factory.mktemp("model") / "x.cbm"
    load_model(ROOT / "2nd_level_model/catboost.pkl").save_model(str(path))
    return path.read_bytes()


def saved(model, path: Path) -> Path:
    model.save_model(str(path))
    return path


def test_a_classifier_is_refused(tmp_path):
    model = CatBoostClassifier(**SETTINGS).fit(TABLE, TABLE[:, 0] > 0)
    with pytest.raises(InputError, match=r"x\.cbm.*Logloss, which predicts no IoU"):
        load_model(saved(model, tmp_path / "x.cbm"))


def test_a_ranking_is_refused(tmp_path):
    model = CatBoostRegressor(loss_function="Poisson", **SETTINGS).fit(TABLE, abs(TABLE[:, 0]))
    with pytest.raises(InputError, match="Poisson"):
        load_model(saved(model, tmp_path / "x.cbm"))


def test_features_that_are_no_numbers_are_refused(tmp_path):
    rows = [[str(i % 3), i] for i in range(40)]
    model = CatBoostRegressor(cat_features=[0], **SETTINGS).fit(rows, TABLE[:, 0])
    with pytest.raises(InputError, match="other features than numbers"):
        load_model(saved(model, tmp_path / "x.cbm"))


def test_several_values_are_refused(tmp_path):
    model = CatBoostRegressor(loss_function="MultiRMSE", **SETTINGS).fit(TABLE, TABLE)
    with pytest.raises(InputError, match="MultiRMSE"):
        load_model(saved(model, tmp_path / "x.cbm"))


def test_infinite_predictions_are_refused(tmp_path):
    model = CatBoostRegressor(**SETTINGS).fit(TABLE, TABLE[:, 0])
    model.set_scale_and_bias(1e308, 1e308)
    with pytest.raises(InputError, match="one number a row"):
        load_model(saved(model, tmp_path / "x.cbm"))


def test_damaged_trees_never_end_the_process(blob, tmp_path):
    """Of these about one in twenty crashes CatBoost."""
    rng = random.Random(0)
    messages = []
    for _ in range(60):
        damaged = bytearray(blob)
        position = rng.randrange(len(blob) - 4)
        damaged[position : position + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"])
        (tmp_path / "x.cbm").write_bytes(damaged)
        try:
            model = load_model(tmp_path / "x.cbm")
            model.predict(np.zeros((1, len(model.feature_names_))), thread_count=1)
        except InputError as error:
            messages.append(str(error))
    assert any("crashes on it" in message for message in messages)
