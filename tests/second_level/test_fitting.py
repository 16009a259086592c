"""Training the 2nd-level model: targets, splits, figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import CLASS_NAMES
from second_level_data import predictions_of, truth_of, write_all

from cells.instances import Instances
from cells.pictures import ArrayPicture
from evaluation.metrics import compare_instances
from network.rescaling import at_training_scale
from network.tiles import by_tile, tile_grid
from second_level.features.table import FEATURE_NAMES, compute_features
from second_level.fitting import (
    Settings,
    features_of,
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


def test_features_are_those_that_the_second_level_will_see(folder):
    """Tile by tile and at the training's scale, as `TiledEnsemble.rescored` does it."""
    truth = truth_of(folder)
    record, rng = truth.images[0], np.random.default_rng(0)
    instances = predictions_of(truth, 0, rng)
    image = rng.integers(0, 255, (*record.image_size, 3), np.uint8)
    tile = (48, 64, 8)
    predictions = ImagePredictions(
        record.id, "", CLASS_NAMES, instances, image_scale=0.5, tile=tile
    )
    found = features_of(predictions, image)
    seen = []

    def rescore(own, pixels):
        seen.append(compute_features(own, pixels).assign(score=own.scores))
        return own

    tiles = tile_grid(record.image_size, tile[:2], tile[2])
    assert len(tiles) > 1
    by_tile(at_training_scale(rescore, 0.5), instances, ArrayPicture(image), tiles)
    expected = pd.concat(seen).set_index("score").loc[instances.scores]
    assert len(seen) > 1 and list(found.index) == list(range(len(instances)))
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
    whole = features_of(replace(predictions, image_scale=1.0, tile=None), image)
    pd.testing.assert_frame_equal(whole, compute_features(instances, image))


def test_instances_in_crowd_regions_teach_nothing(folder):
    truth = truth_of(folder)
    crowded = replace(truth.images[0], iscrowd=np.ones(len(truth.images[0].rles), bool))
    data = load_training_set(
        folder / "pickles", replace(truth, images=[crowded, *truth.images[1:]])
    )
    inside = np.isnan(data.iou)
    assert 0 < inside.sum() < len(data.iou) and set(data.image_of[inside]) == {0}
    settings = Settings(iterations=10)
    model = fit(data.table, data.iou, settings)
    assert np.isfinite(predict_iou(model, data.table[model.feature_names_])).all()
    predicted = predict_held_out(data, [np.array([0])], settings)
    measured = figures(data, predicted, 0.3)
    assert measured["instances"] == (data.image_of == 0).sum() - inside.sum()
    assert np.isfinite(sweep_drop_thresholds(data, predicted, [0.3]).before).all()


def test_predictions_that_do_not_belong_together(folder, tmp_path):
    truth = truth_of(folder)
    write_all(truth, tmp_path)
    first = sorted(tmp_path.glob("*.pkl"))[-1]
    (tmp_path / f".{first.stem}-0123abcd.pkl").write_bytes(b"left by a killed process")
    load_training_set(tmp_path, truth)
    found = read_predictions(first)
    write_predictions(tmp_path / "z.pkl", found)
    with pytest.raises(InputError, match=f"z.pkl: image .* is in {first.name}, too"):
        load_training_set(tmp_path, truth)
    (tmp_path / "z.pkl").unlink()
    write_predictions(first, replace(found, settings="{'tta': 'flip'}"))
    with pytest.raises(InputError, match=f"{first.name}: made with .*other options"):
        load_training_set(tmp_path, truth)
