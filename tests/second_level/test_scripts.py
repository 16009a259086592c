"""The two scripts of the 2nd level as users run them."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pytest
from helpers import CLASS_NAMES, ROOT, assert_one_line_error

import train_2nd_level_catboost
from cells.images import read_image
from second_level.features.table import compute_features
from second_level.model import load_second_level
from second_level.predictions import (
    read_predictions,
)
from utils.files import sha256
from utils.paths import BUNDLED_SECOND_LEVEL

QUICK = ("--iterations", 60)


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
    for folder, threshold in ((model_dir, report["drop_threshold"]), (tmp_path / "cv", 0.42)):
        second = load_second_level(folder / "catboost.pkl", folder / "features.csv")
        assert second.drop_threshold == threshold
        assert second.detection_share == 1.0


def test_the_default_output_is_not_the_bundled_model(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_2nd_level_catboost.py"])
    out_dir = train_2nd_level_catboost.parse_args().out_dir
    assert Path(out_dir) != Path(BUNDLED_SECOND_LEVEL).parent
    assert f"/{out_dir}/" in (ROOT / ".gitignore").read_text().splitlines()


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
    # predictions of other models, of other options, or damaged ones are no reason to skip
    paths[2].write_bytes(paths[2].read_bytes()[:-20])
    one = run(*prepare[:-4], "--weights", untrained(), "--out_dir", out_dir, "--resume")
    assert one.returncode == 0, one.stderr
    assert "3 pickle(s) of other models or options" in one.stdout
    assert "0 were there already" in one.stdout
    assert {read_predictions(path).weights for path in paths} == {(sha256(untrained()),)}


def test_prepare_refuses_models_of_other_classes(run, untrained, shapes, tmp_path):
    done = run(
        "prepare_for_2nd_level_model.py",
        *("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"),
        *("--weights", untrained(names=("a", "b")), "--out_dir", tmp_path / "out"),
    )
    assert_one_line_error(done, "--weights", "a, b")
