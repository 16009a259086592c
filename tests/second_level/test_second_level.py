"""The 2nd-level model: prediction files, loading with care, rescoring, and the two scripts."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import catboost
import numpy as np
import pandas as pd
import pytest
from helpers import CLASS_NAMES, DATA, ROOT, assert_one_line_error, write_shapes

from cells.annotations import AnnotationSet, annotation_file, load_annotations
from cells.images import read_image
from cells.instances import Instances
from cells.masks import label_image
from cells.rle import rle_crop
from evaluation.metrics import compare
from second_level.features.table import FEATURE_NAMES, compute_features
from second_level.fitting import (
    Settings,
    figures,
    fit,
    largest_iou,
    load_training_set,
    predict_held_out,
    split_images,
    sweep_drop_thresholds,
    usable_columns,
)
from second_level.model import apply_iou, load_features, load_model, load_second_level, predict_iou
from second_level.predictions import (
    ImagePredictions,
    prediction_path,
    read_predictions,
    write_predictions,
)
from utils.script import InputError

SHARED = ROOT.parent / "shared" / "reference"
needs_original = pytest.mark.skipif(
    not (SHARED / "original_catboost.pkl").is_file(),
    reason="the published model is not in ../shared/reference",
)
EXPECTED = json.loads((DATA / "expected.json").read_text())["original_catboost_predicted_iou"]
QUICK = ("--iterations", 60)


def truth_of(folder: Path) -> AnnotationSet:
    return load_annotations(annotation_file(folder / "annotations", "valid", 0), folder / "images")


def predictions_of(truth: AnnotationSet, image: int, rng: np.random.Generator) -> Instances:
    """Each true cell well found with a low score, and a false mask beside it with a high one."""
    record = truth.images[image]
    masks, offsets, scores = [], [], []
    for rle in record.rles:
        crop, (x, y) = rle_crop(rle)
        masks += [crop * np.float32(0.9), np.full((4, 11), 0.6, np.float32)]
        offsets += [(x, y), (min(x + 12, 100), max(y - 3, 0))]
        scores += [rng.uniform(0.5, 0.8), rng.uniform(0.7, 0.99)]
    sizes = np.array([mask.shape[::-1] for mask in masks])
    return Instances(
        image_size=record.image_size,
        boxes=np.concatenate([offsets, offsets + sizes], axis=1).astype(np.float32),
        scores=np.array(scores, np.float32),
        labels=np.repeat(record.labels, 2),
        masks=masks,
        offsets=np.array(offsets, np.int64),
    ).sorted_by_score()


def write_all(truth: AnnotationSet, folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i, record in enumerate(truth.images):
        instances = predictions_of(truth, i, rng)
        predictions = ImagePredictions(record.id, str(record.path), CLASS_NAMES, instances)
        write_predictions(prediction_path(folder, record.id), predictions)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six annotated images in `images` and `annotations`, and their predictions in `pickles`."""
    folder = write_shapes(tmp_path_factory.mktemp("second_level") / "data", 1, 6)
    write_all(truth_of(folder), folder / "pickles")
    return folder


@pytest.fixture(scope="module")
def train(run, folder):
    """Run the training script on the fixture's data."""

    def train(out_dir: Path, *arguments: object, data_dir: Path = folder / "pickles"):
        return run(
            "train_2nd_level_catboost.py",
            *("--image_dir", folder / "images", "--annotation_dir", folder / "annotations"),
            *("--data_dir", data_dir, "--out_dir", out_dir, *arguments),
        )

    return train


@pytest.fixture(scope="module")
def model_dir(train, tmp_path_factory) -> Path:
    """A model that the script trained."""
    out_dir = tmp_path_factory.mktemp("model")
    done = train(out_dir, *QUICK)
    assert done.returncode == 0, done.stderr
    return out_dir


# ---- the published model


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


# ---- prediction files


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


def one_instance() -> Instances:
    mask = np.ones((1, 3), np.float32)
    box = np.array([[0, 0, 3, 1]], np.float32)
    ones = np.ones(1, np.float32)
    return Instances((9, 9), box, ones, np.zeros(1, np.int64), [mask], np.zeros((1, 2), np.int64))


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
    assert {type(value) for value in record.values()} <= {dict, list, tuple, str, int, np.ndarray}


def test_no_instance_in_a_prediction_file(tmp_path):
    path = tmp_path / "a.pkl"
    write_predictions(path, ImagePredictions("a", "", ("x",), Instances.empty((5, 7))))
    assert len(read_predictions(path).instances) == 0


def test_image_ids_that_are_no_file_names():
    assert prediction_path("d", 12) == Path("d/12.pkl")
    assert prediction_path("d", "../a/b") == Path("d/..%2Fa%2Fb.pkl")


class Hostile:
    """Pickles to a call of `function`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def nested_getattr() -> Hostile:
    """getattr(getattr(CatBoostRegressor, "__init__"), "__globals__"), then a call."""
    inner = Hostile(getattr, catboost.CatBoostRegressor, "__init__")
    return Hostile(getattr, inner, "__globals__")


def dotted_name() -> bytes:
    """The protocol's own attribute access: CatBoostRegressor.__init__.__globals__."""
    module, name = b"catboost.core", b"CatBoostRegressor.__init__.__globals__"
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, name))
    return b"\x80\x04" + texts + b"\x93."


HOSTILE = {
    "os.system": lambda proof: pickle.dumps(Hostile(os.system, f"touch {proof}")),
    "eval": lambda proof: pickle.dumps(Hostile(eval, f"open({str(proof)!r}, 'w')")),
    "nested getattr": lambda proof: pickle.dumps(nested_getattr()),
    "dotted name": lambda proof: dotted_name(),
    "swapped class": lambda proof: pickle.dumps(catboost.CatBoostClassifier()),
    "other content": lambda proof: pickle.dumps([1, 2, 3]),
    "not fitted": lambda proof: pickle.dumps(catboost.CatBoostRegressor()),
    "hidden in a dict": lambda proof: pickle.dumps({"image_id": Hostile(os.remove, "x")}),
    "empty": lambda proof: b"",
    "no pickle": lambda proof: b"PK\x03\x04 something else",
}


@pytest.mark.parametrize("read", [load_model, read_predictions])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_broken_pickles_are_refused(kind, read, tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "file.pkl"
    path.write_bytes(HOSTILE[kind](proof))
    with pytest.raises(InputError, match="file.pkl"):
        read(path)
    assert not proof.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(model_dir, folder, share, tmp_path):
    for source, read in (
        (model_dir / "catboost.pkl", load_model),
        (next((folder / "pickles").glob("*.pkl")), read_predictions),
    ):
        content = source.read_bytes()
        path = tmp_path / source.name
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=source.name):
            read(path)


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


# ---- loading and rescoring


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
    comparison = compare(label_image(rescored), len(rescored), record.rles, record.iscrowd)
    assert comparison.score().ap > 0.9
    assert len(second.rescore(instances, read_image(record.path), threshold=0.0)) == 12


def test_rescoring_nothing(model_dir):
    second = load_second_level(model_dir / "catboost.pkl", model_dir / "features.csv")
    empty = Instances.empty((5, 7))
    assert len(second.rescore(empty, np.zeros((5, 7, 3), np.uint8))) == 0


def test_threshold_is_a_least_value_and_scores_stay_between_0_and_1():
    instances = replace(
        one_instance(),
        **{
            name: np.repeat(getattr(one_instance(), name), 4, axis=0)
            for name in ("boxes", "scores", "labels", "masks", "offsets")
        },
    )
    rescored = apply_iou(instances, np.array([0.29, 0.3, 1.2, -0.1]), 0.3)
    np.testing.assert_array_equal(rescored.scores, np.array([1, 0.3], np.float32))


# ---- training


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
    before, sweep = sweep_drop_thresholds(data, predicted, [0.0, 0.3])
    for threshold, row in sweep.iterrows():
        scores = []
        for i in parts[0]:
            instances = read_predictions(data.paths[i]).instances
            left = apply_iou(instances, predicted[data.image_of == i], threshold)
            record = data.records[i]
            truth = record.rles, record.iscrowd
            scores.append(compare(label_image(left), len(left), *truth).score().ap)
        assert row["mAP"] == pytest.approx(np.mean(scores))
        assert row["gain"] == pytest.approx(np.mean(scores) - before)
    assert sweep["gain"][0.3] > 0.2


def test_training_repeats_and_follows_the_settings(folder):
    data = load_training_set(folder / "pickles", truth_of(folder))
    settings = Settings(iterations=10, depth=3, learning_rate=0.1, l2=2, seed=1)
    first, second = (fit(data.table, data.iou, settings) for _ in range(2))
    table = data.table[first.feature_names_]
    np.testing.assert_array_equal(predict_iou(first, table), predict_iou(second, table))
    assert first.tree_count_ == 10
    assert first.get_param("depth") == 3


def test_training_script(model_dir, train, tmp_path):
    names = {"catboost.pkl", "features.csv", "report.json", "feature_importance.png"}
    assert {path.name for path in model_dir.iterdir()} == names | {"predicted_iou.png"}
    report = json.loads((model_dir / "report.json").read_text())
    assert report["tested"] == "3 images, model of the other half"
    at_default = [row for row in report["mAP with rescoring"] if row["threshold"] == 0.3]
    assert at_default[0]["mAP"] > report["mAP without rescoring"]
    done = train(tmp_path / "cv", *QUICK, "--cv", 3, "--drop_threshold", 0.42)
    assert done.returncode == 0, done.stderr
    assert "6 images, model of the other parts" in done.stdout
    assert "0.42" in done.stdout
    assert "training on all images: 100%" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--depth", 0), "--depth: '0'"),
        (("--iterations", 0), "--iterations: '0'"),
        (("--learning_rate", -1), "--learning_rate: '-1'"),
        (("--l2", "nan"), "--l2: 'nan'"),
        (("--drop_threshold", 1.5), "--drop_threshold: '1.5'"),
        (("--cv", 1), "--cv: '1'"),
        (("--cv", 7), "--cv 7"),
        (("--fold", 3), "annotations_valid_3.json"),
    ],
)
def test_bad_options_of_the_training(train, arguments, part, tmp_path):
    assert_one_line_error(train(tmp_path / "out", *arguments), part)
    assert not (tmp_path / "out").exists()


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
        "in one order": replace(predictions, class_names=CLASS_NAMES[::-1]),
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


# ---- preparing


def test_prepare_and_resume(run, untrained, shapes, tmp_path):
    out_dir = tmp_path / "pickles"
    data = ("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations")
    weights = f"{untrained()} {untrained(seed=1)}"
    prepare = ("prepare_for_2nd_level_model.py", *data, "--weights", weights, "--out_dir", out_dir)
    done = run(*prepare)
    assert done.returncode == 0, done.stderr
    paths = sorted(out_dir.iterdir())
    assert [path.name for path in paths] == ["valid0.pkl", "valid1.pkl", "valid2.pkl"]
    predictions = read_predictions(paths[0])
    assert predictions.class_names == CLASS_NAMES
    image = read_image(predictions.image_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(compute_features(predictions.instances, image)) == len(predictions.instances)
    paths[1].unlink()
    before = paths[0].stat().st_mtime_ns
    again = run(*prepare, "--resume")
    assert again.returncode == 0, again.stderr
    assert "2 were there already" in again.stdout
    assert paths[0].stat().st_mtime_ns == before
    assert paths[1].is_file()


def test_prepare_refuses_models_of_other_classes(run, untrained, shapes, tmp_path):
    done = run(
        "prepare_for_2nd_level_model.py",
        *("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"),
        *("--weights", untrained(names=("a", "b")), "--out_dir", tmp_path / "out"),
    )
    assert_one_line_error(done, "--weights", "a, b")
