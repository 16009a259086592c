"""The 2nd-level model: loading, and rescoring."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import catboost
import numpy as np
import pandas as pd
import pytest
from helpers import DATA, ROOT
from second_level_data import one_instance, predictions_of, truth_of

from cells.images import read_image
from cells.instances import Instances
from evaluation.metrics import compare_instances
from second_level.model import apply_iou, load_features, load_model, load_second_level, predict_iou
from second_level.report import write_model
from utils.script import InputError

SHARED = ROOT.parent / "shared" / "reference"
needs_original = pytest.mark.skipif(
    not (SHARED / "original_catboost.pkl").is_file(),
    reason="the published model is not in ../shared/reference",
)
EXPECTED = json.loads((DATA / "expected.json").read_text())["original_catboost_predicted_iou"]


@needs_original
def test_published_model_on_reference_features():
    second = load_second_level(SHARED / "original_catboost.pkl", SHARED / "original_features.csv")
    table = pd.read_csv(DATA / "features.csv")[list(second.features)]
    np.testing.assert_allclose(predict_iou(second.model, table), EXPECTED, atol=1e-6)


@needs_original
def test_published_model_on_computed_features():
    second = load_second_level(SHARED / "original_catboost.pkl", SHARED / "original_features.csv")
    data = np.load(DATA / "instances.npz")
    frames = list(data["mask_probs"] / np.float32(65535))
    zeros = np.zeros((len(frames), 2), np.int64)
    size = data["image"].shape
    instances = Instances(size, data["boxes"], data["scores"], zeros[:, 0], frames, zeros)
    image = np.repeat(data["image"][:, :, None], 3, axis=2)
    np.testing.assert_allclose(second.predict(instances, image), EXPECTED, atol=1e-3)


def test_a_model_knows_its_thresholds(model_dir, tmp_path):
    files = model_dir / "catboost.pkl", model_dir / "features.csv"
    model = load_model(files[0])
    for stored in ({"drop_threshold": 0.0}, {"drop_threshold": 1.0, "detection_share": 0.25}):
        write_model(tmp_path, model, stored)
        second = load_second_level(tmp_path / "catboost.pkl", tmp_path / "features.csv")
        assert second.drop_threshold == stored["drop_threshold"]
        left = second.rescore(one_instance(), np.zeros((9, 9, 3), np.uint8))
        assert len(left) == (stored["drop_threshold"] == 0)
    assert second.detection_share == 0.25
    for wrong in ("nan", "1.5", "much"):
        write_model(tmp_path, model, {"drop_threshold": wrong})
        with pytest.raises(InputError, match="stores drop_threshold"):
            load_second_level(tmp_path / "catboost.pkl", tmp_path / "features.csv")


def test_models_that_store_nothing_drop_as_the_solution_does(tmp_path):
    table = pd.DataFrame({"box_score": [0.2, 0.4, 0.6, 0.8]})
    model = catboost.CatBoostRegressor(iterations=2, allow_writing_files=False, verbose=False)
    write_model(tmp_path, model.fit(table, table["box_score"]), {})
    second = load_second_level(tmp_path / "catboost.pkl", tmp_path / "features.csv")
    assert (second.drop_threshold, second.detection_share) == (0.3, 1.0)


def test_model_in_catboosts_own_format(model_dir, tmp_path):
    model = load_model(model_dir / "catboost.pkl")
    model.save_model(str(tmp_path / "a.cbm"))
    second = load_second_level(tmp_path / "a.cbm", model_dir / "features.csv")
    row = np.ones((1, len(second.features)))
    assert second.model.predict(row) == model.predict(row)
    (tmp_path / "b.cbm").write_bytes(b"no model")
    with pytest.raises(InputError, match="b.cbm"):
        load_model(tmp_path / "b.cbm")


def test_pickle_is_an_ordinary_catboost_regressor(model_dir):
    model = pickle.loads((model_dir / "catboost.pkl").read_bytes())
    assert type(model) is catboost.CatBoostRegressor
    assert model.feature_names_ == pd.read_csv(model_dir / "features.csv")["features"].tolist()


def test_a_model_of_unnamed_columns_is_taken_as_it_is(tmp_path):
    model = catboost.CatBoostRegressor(iterations=2, allow_writing_files=False, silent=True)
    model.fit(np.random.default_rng(0).random((9, 2)), np.arange(9.0))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(model))
    (tmp_path / "features.csv").write_text("features\nwidth\nheight\n")
    assert load_second_level(tmp_path / "a.pkl", tmp_path / "features.csv").features == (
        "width",
        "height",
    )


def test_model_and_feature_list_must_fit(model_dir, tmp_path):
    names = pd.read_csv(model_dir / "features.csv")["features"].tolist()
    changed = {
        "has .* there": [names[1], names[0], *names[2:]],
        f"{len(names) - 1} features, but": names[1:],
        "unknown feature 'colour'": ["colour", *names[1:]],
        "listed twice": [names[1], *names[1:]],
    }
    for message, wrong in changed.items():
        pd.DataFrame({"features": wrong}).to_csv(tmp_path / "f.csv", index=False)
        with pytest.raises(InputError, match=message):
            load_second_level(model_dir / "catboost.pkl", tmp_path / "f.csv")


@pytest.mark.parametrize(
    "content", [b"", b"name\nwidth\n", b"features\n", b"a,features\n1\n", b"\xff"]
)
def test_files_that_are_no_feature_list(content, tmp_path):
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(InputError, match="f.csv"):
        load_features(tmp_path / "f.csv")


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match="no such feature list"):
        load_features(tmp_path / "f.csv")
    for name in ("a.pkl", "a.cbm"):
        with pytest.raises(InputError, match=name):
            load_model(tmp_path / name)


def test_rescoring_puts_the_true_cells_first(model_dir, folder):
    second = load_second_level(model_dir / "catboost.pkl", model_dir / "features.csv")
    truth = truth_of(folder)
    record = truth.images[0]
    instances = predictions_of(truth, 0, np.random.default_rng(5))
    rescored = second.rescore(instances, read_image(record.path))
    assert len(rescored) == 6 < len(instances)
    assert (np.diff(rescored.scores) <= 0).all()
    assert (rescored.scores >= 0.3).all()
    comparison = compare_instances(rescored, record)
    assert comparison.score().ap > 0.9
    keeps_all = replace(second, drop_threshold=0.0)
    assert len(keeps_all.rescore(instances, read_image(record.path))) == 12


def test_rescoring_nothing(model_dir):
    second = load_second_level(model_dir / "catboost.pkl", model_dir / "features.csv")
    empty = Instances.empty((5, 7))
    assert len(second.rescore(empty, np.zeros((5, 7, 3), np.uint8))) == 0


def test_threshold_is_a_least_value_and_scores_stay_between_0_and_1():
    instances = replace(
        one_instance(),
        **{
            name: np.repeat(getattr(one_instance(), name), 4, axis=0)
            for name in ("boxes", "scores", "labels", "masks", "offsets", "agreement")
        },
    )
    rescored = apply_iou(instances, np.array([0.29, 0.3, 1.2, -0.1]), 0.3)
    np.testing.assert_array_equal(rescored.scores, np.array([1, 0.3], np.float32))
