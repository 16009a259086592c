"""Files of predictions."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import CLASS_NAMES
from second_level_data import one_instance, predictions_of, truth_of

from cells.grey import AS_STORED, SARTORIUS
from cells.instances import Instances
from second_level.predictions import (
    ImagePredictions,
    prediction_path,
    read_predictions,
    write_predictions,
)
from utils.script import InputError


def test_predictions_survive_the_file(folder, tmp_path):
    truth = truth_of(folder)
    instances = predictions_of(truth, 0, np.random.default_rng(0))
    write_predictions(tmp_path / "a.pkl", ImagePredictions("a", "a.png", CLASS_NAMES, instances))
    back = read_predictions(tmp_path / "a.pkl")
    assert (back.image_id, back.image_path, back.class_names) == ("a", "a.png", CLASS_NAMES)
    assert back.instances.image_size == instances.image_size
    for field in ("boxes", "scores", "labels", "offsets"):
        np.testing.assert_array_equal(getattr(back.instances, field), getattr(instances, field))
    for mask, original in zip(back.instances.masks, instances.masks, strict=True):
        np.testing.assert_allclose(mask, original, atol=1 / 65535)


def test_binary_masks_are_exactly_kept(tmp_path):
    half = np.float32(0.5)
    around = [np.nextafter(half, half - 1), half, np.nextafter(half, half + 1)]
    values = np.array([[*around, 0, 1e-9]], np.float32)
    instances = replace(one_instance(), masks=[values])
    write_predictions(tmp_path / "a.pkl", ImagePredictions(1, "", ("x",), instances))
    back = read_predictions(tmp_path / "a.pkl").instances.masks[0]
    np.testing.assert_array_equal(back >= 0.5, values >= 0.5)
    np.testing.assert_array_equal(back > 0, values > 0)


def test_prediction_file_needs_nothing_of_this_project_and_is_small(tmp_path):
    count = 500
    rng = np.random.default_rng(0)
    masks = [rng.random((36, 36), np.float32) for _ in range(count)]
    boxes = np.tile(np.array([0, 0, 36, 36], np.float32), (count, 1))
    zeros = np.zeros((count, 2), np.int64)
    instances = Instances((520, 704), boxes, boxes[:, 0], zeros[:, 0], masks, zeros)
    path = tmp_path / "a.pkl"
    write_predictions(path, ImagePredictions(1, "", ("x",), instances))
    assert path.stat().st_size < 2e6
    record = pickle.loads(path.read_bytes())
    assert {type(value) for value in record.values()} <= {
        type(None),
        *(dict, list, tuple, str, int, float, np.ndarray),
    }


def test_no_instance_in_a_prediction_file(tmp_path):
    path = tmp_path / "a.pkl"
    write_predictions(path, ImagePredictions("a", "", ("x",), Instances.empty((5, 7))))
    assert len(read_predictions(path).instances) == 0


def test_candidates_below_the_threshold_and_the_agreement_survive_the_file(folder, tmp_path):
    truth = truth_of(folder)
    instances = predictions_of(truth, 0, np.random.default_rng(0))
    agreement = np.random.default_rng(1).random(instances.agreement.shape, np.float32)
    instances = replace(instances, agreement=agreement)
    threshold = float(instances.scores[4])
    path = tmp_path / "a.pkl"
    written = ImagePredictions(
        "a", "", CLASS_NAMES, instances, threshold=threshold, detection_share=0.4
    )
    write_predictions(path, written)
    back = read_predictions(path)
    assert (back.threshold, back.detection_share) == (threshold, 0.4)
    assert len(back.kept) == 5
    np.testing.assert_array_equal(back.instances.agreement, agreement)
    record = pickle.loads(path.read_bytes())
    earlier = {k: v for k, v in record.items() if k not in ("agreement", "threshold")}
    path.write_bytes(pickle.dumps(earlier))
    assert len(read_predictions(path).kept) == len(instances)
    assert np.isnan(read_predictions(path).instances.agreement).all()
    path.write_bytes(pickle.dumps(record | {"threshold": float("nan")}))
    with pytest.raises(InputError, match="threshold"):
        read_predictions(path)


def test_how_the_image_is_to_be_read_survives_the_file(tmp_path):
    path = tmp_path / "a.pkl"
    about = "a", "", ("x",), Instances.empty((5, 7))
    write_predictions(path, ImagePredictions(*about, grey_rule=SARTORIUS))
    assert read_predictions(path).grey_rule == SARTORIUS
    record = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(record | {"grey": {"spread": 3}}))
    with pytest.raises(InputError, match="grey"):
        read_predictions(path)
    del record["grey"]
    path.write_bytes(pickle.dumps(record))
    assert read_predictions(path).grey_rule == AS_STORED


def test_image_ids_that_are_no_file_names():
    assert prediction_path("d", 12) == Path("d/12.pkl")
    assert prediction_path("d", "../a/b") == Path("d/..%2Fa%2Fb.pkl")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("masks", [np.zeros((2, 2), np.float32)] * 12),
        ("masks", []),
        ("scores", np.full(12, np.nan, np.float32)),
        ("labels", np.full(12, 3)),
        ("offsets", np.full((12, 2), 10_000)),
        ("offsets", np.full((12, 2), -1)),
        ("boxes", np.zeros((12, 5), np.float32)),
        ("class_names", [1, 2]),
        ("image_size", (1.5, 2.5)),
        ("image_id", None),
    ],
)
def test_prediction_files_whose_parts_do_not_fit(folder, field, value, tmp_path):
    record = pickle.loads(next((folder / "pickles").glob("*.pkl")).read_bytes())
    assert len(record["scores"]) == 12
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(record | {field: value}))
    with pytest.raises(InputError, match="a.pkl"):
        read_predictions(path)
    path.write_bytes(pickle.dumps({k: v for k, v in record.items() if k != field}))
    with pytest.raises(InputError, match=f"lacks '{field}'"):
        read_predictions(path)


def test_settings_come_back(tmp_path):
    about = "a", "", ("x",), Instances.empty((5, 7)), ("0" * 64,)
    write_predictions(tmp_path / "a.pkl", ImagePredictions(*about, settings="{}"))
    assert read_predictions(tmp_path / "a.pkl").settings == "{}"
