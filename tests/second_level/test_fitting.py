"""Training the 2nd-level model: targets, splits, figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import CLASS_NAMES
from second_level_data import predictions_of, truth_of, write_all

from cells.instances import Instances
from evaluation.metrics import compare_instances
from second_level.features.table import FEATURE_NAMES
from second_level.fitting import (
    Settings,
    figures,
    fit,
    largest_iou,
    load_training_set,
    predict_held_out,
    split_images,
    usable_columns,
)
from second_level.model import apply_iou, predict_iou
from second_level.predictions import (
    ImagePredictions,
    prediction_path,
    read_predictions,
    write_predictions,
)
from second_level.sweep import Sweep, sweep_drop_thresholds
from utils.script import InputError


def test_columns_that_are_left_out():
    table = pd.DataFrame(
        {
            "good": np.arange(10.0),
            "missing": [np.nan] * 4 + list(range(6)),
            "just enough": [np.nan] * 3 + list(range(7)),
            "equal": [1.0] * 10,
            "just different": [1.0] * 9 + [2.0],
        }
    )
    assert usable_columns(table) == ["good", "just enough", "just different"]


def test_target_is_the_largest_iou_with_a_cell_and_crowds_do_not_count(folder):
    truth = truth_of(folder)
    record, instances = truth.images[0], predictions_of(truth, 0, np.random.default_rng(0))
    iou = largest_iou(instances, record)
    assert (iou == 1).sum() == 6
    crowd = replace(record, iscrowd=np.ones(len(record.rles), bool))
    assert (largest_iou(instances, crowd) == 0).all()


def test_images_are_split_whole_and_by_the_seed():
    parts = split_images(7, 2, 67)
    assert sorted(np.concatenate(parts).tolist()) == list(range(7))
    assert sorted(map(len, parts)) == [3, 4]
    np.testing.assert_array_equal(parts[0], split_images(7, 2, 67)[0])
    assert any((split_images(7, 2, 67)[0] != split_images(7, 2, s)[0]).any() for s in range(5))


def test_training_set_and_sweep(folder):
    data = load_training_set(folder / "pickles", truth_of(folder))
    assert data.table.shape == (6 * 12, len(FEATURE_NAMES))
    parts = split_images(6, 2, 67)[1:]
    predicted = predict_held_out(data, parts, Settings(iterations=60))
    assert set(data.image_of[~np.isnan(predicted)]) == set(parts[0])
    measured = figures(data, predicted, 0.3)
    assert measured["instances"] == 36
    assert measured["RMSE"] < 0.25
    assert measured["recall of wrong instances"] > 0.9
    sweep = sweep_drop_thresholds(data, predicted, [0.0, 0.3])
    assert sweep.best == 0.3
    before, table = sweep.before.mean(), sweep.table()
    for threshold, row in table.iterrows():
        scores = []
        for i in parts[0]:
            instances = read_predictions(data.paths[i]).instances
            left = apply_iou(instances, predicted[data.image_of == i], threshold)
            scores.append(compare_instances(left, data.records[i]).score().ap)
        assert row["mAP"] == pytest.approx(np.mean(scores))
        assert row["gain"] == pytest.approx(np.mean(scores) - before)
    assert table["gain"][0.3] > 0.2
    assert np.isnan(sweep.honest_gain(parts))


def test_the_gain_is_over_what_the_models_thresholds_let_pass(folder, tmp_path):
    """The second level sees instances below them, the comparison does not."""
    truth = truth_of(folder)
    write_all(truth, tmp_path)
    for path in tmp_path.glob("*.pkl"):
        found = replace(read_predictions(path), threshold=0.8, detection_share=0.5)
        write_predictions(path, found)
    data = load_training_set(tmp_path, truth)
    assert data.detection_share == 0.5
    assert len(data.iou) == 6 * 12
    sweep = sweep_drop_thresholds(data, data.iou, [0.3])
    assert (sweep.before == 0).all()  # the true ones have scores up to 0.8
    assert (sweep.after == 1).all()
    write_predictions(path, replace(found, detection_share=0.6))
    with pytest.raises(InputError, match="another --detection_share"):
        load_training_set(tmp_path, truth)


def test_the_honest_gain_takes_each_parts_threshold_from_the_others():
    after = np.array([[0.5, 0.9], [0.5, 0.9], [0.6, 0.1], [0.6, 0.2]])
    before = np.full(4, 0.4)
    images = np.array([3, 5, 7, 8])
    sweep = Sweep(np.array([0.0, 0.3]), images, before, after, np.ones((4, 2), int))
    assert sweep.best == 0.0
    # images 3 and 5 get the threshold 0 from the others, and the others 0.3 from them
    gains = [0.1, 0.1, -0.3, -0.2]
    assert sweep.honest_gain([np.array([3, 5]), np.array([7, 8])]) == pytest.approx(np.mean(gains))


def test_training_repeats_and_follows_the_settings(folder):
    data = load_training_set(folder / "pickles", truth_of(folder))
    settings = Settings(iterations=10, depth=3, learning_rate=0.1, l2=2, seed=1)
    first, second = (fit(data.table, data.iou, settings) for _ in range(2))
    table = data.table[first.feature_names_]
    np.testing.assert_array_equal(predict_iou(first, table), predict_iou(second, table))
    assert first.tree_count_ == 10
    assert first.get_param("depth") == 3


def test_bad_folders_of_pickles(folder, tmp_path):
    truth = truth_of(folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no prediction pickles"):
        load_training_set(tmp_path / "none", truth)
    good = next((folder / "pickles").glob("*.pkl"))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / good.name).write_bytes(good.read_bytes())
    with pytest.raises(InputError, match="at least two"):
        load_training_set(tmp_path / "one", truth)
    predictions = read_predictions(good)
    others = {
        "is not in the annotations": replace(predictions, image_id="stranger"),
        "in the annotations": replace(predictions, instances=Instances.empty((9, 9))),
        "in this order": replace(predictions, class_names=CLASS_NAMES[::-1]),
    }
    for message, other in others.items():
        write_predictions(tmp_path / "one" / "z.pkl", other)
        with pytest.raises(InputError, match=message):
            load_training_set(tmp_path / "one", truth)


def test_an_image_without_predictions_is_left_out(folder, tmp_path, capsys):
    truth = truth_of(folder)
    write_all(truth, tmp_path)
    record = truth.images[0]
    empty = ImagePredictions(record.id, "", CLASS_NAMES, Instances.empty(record.image_size))
    write_predictions(prediction_path(tmp_path, record.id), empty)
    data = load_training_set(tmp_path, truth)
    assert len(data.records) == 5
    assert f"left out: 1 image(s), for example {record.id}" in capsys.readouterr().out
