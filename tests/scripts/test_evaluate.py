"""The two evaluation scripts as users run them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from helpers import assert_one_line_error
from pycocotools import mask as coco_mask

from cells.annotations import load_annotations
from evaluation.job import add_arguments, run_evaluation
from utils.script import InputError


def data_options(shapes) -> tuple:
    return ("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations")


def tables(folder) -> dict:
    return json.loads((folder / "evaluation.json").read_text())["tables"]


@pytest.fixture(scope="module")
def evaluated(start, shapes, untrained, tmp_path_factory):
    """Output folder of one run with everything switched on."""
    folder = tmp_path_factory.mktemp("evaluated")
    done = start(
        "evaluate_ensemble.py",
        *data_options(shapes),
        *("--weight", f"{untrained()} {untrained(seed=1)}", "--precision", "fp32"),
        *("--out_dir", folder, "--out", folder / "results.json", "--show_dir", folder / "show"),
    )
    assert done.returncode == 0, done.stderr
    assert "competition metric" in done.stdout
    assert "COCO average precision" in done.stdout
    return folder


def test_report(evaluated, untrained):
    report = json.loads((evaluated / "evaluation.json").read_text())
    assert report["tables"]["competition metric"]["all"]["images"] == 3
    assert "all" in report["tables"]["COCO average precision"]
    assert any(path.endswith(untrained().name) for path in report["sha256"])
    assert {"torch", "mmdet", "pycocotools"} <= set(report["versions"])
    per_image = pd.read_csv(evaluated / "per_image.csv")
    assert per_image["image"].tolist() == ["valid0", "valid1", "valid2"]
    assert (per_image["predictions"] > 0).all()
    pictures = sorted(path.name for path in (evaluated / "show").iterdir())
    assert len(pictures) == 4
    assert pictures[-1] == "precision_recall.png"
    scores = dict(zip(per_image["image"], per_image["AP"], strict=True))
    for name in pictures[:-1]:
        assert name == f"AP{scores[name[9:-4]]:.4f}_{name[9:-4]}.png"


def test_saved_predictions_score_the_same(run, shapes, evaluated, tmp_path):
    done = run(
        "evaluate_single_model.py",
        *data_options(shapes),
        *("--predictions", evaluated / "results.json", "--out_dir", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path) == tables(evaluated)
    per_image = (tmp_path / "per_image.csv").read_text()
    assert per_image == (evaluated / "per_image.csv").read_text()


def test_two_processes_do_what_one_does(start, shapes, untrained, evaluated, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = start(
        "evaluate_ensemble.py",
        *data_options(shapes),
        *("--weights", untrained(), untrained(seed=1), "--device", "cpu", "--precision", "fp32"),
        *("--out_dir", tmp_path, "--out", tmp_path / "results.json"),
        launcher=launcher,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("competition metric") == 1
    assert tables(tmp_path) == tables(evaluated)
    for name in ("per_image.csv", "results.json"):
        assert (tmp_path / name).read_text() == (evaluated / name).read_text()
    assert not list(tmp_path.glob(".*"))


def write_mosaic(shapes: Path, folder: Path, count: int) -> tuple:
    """Options for count x count copies of an annotated image in one image."""
    folder.mkdir()
    image = cv2.imread(str(shapes / "images" / "valid0.png"))
    cv2.imwrite(str(folder / "valid0.png"), np.tile(image, (count, count, 1)))
    height, width = image.shape[:2]
    coco = json.loads((shapes / "annotations" / "annotations_valid_0.json").read_text())
    coco["images"] = [row for row in coco["images"] if row["id"] == "valid0"]
    coco["images"][0].update(width=count * width, height=count * height)
    rows = [row for row in coco["annotations"] if row["image_id"] == "valid0"]
    coco["annotations"] = [
        {**row, "id": f"{row['id']} {x} {y}", "segmentation": [moved.ravel().tolist()]}
        for row in rows
        for x in range(count)
        for y in range(count)
        for moved in [np.reshape(row["segmentation"], (-1, 2)) + (x * width, y * height)]
    ]
    (folder / "coco.json").write_text(json.dumps(coco))
    return ("--image_dir", folder, "--annotation_file", folder / "coco.json")


@pytest.mark.parametrize("script", ["evaluate_single_model.py", "evaluate_ensemble.py"])
def test_an_image_of_several_tiles_scores_as_its_parts(run, shapes, trained, tmp_path, script):
    """A tile is as large as a training image."""
    weights = ("--weight", next(trained.glob("best_*.pth")), "--precision", "fp32")
    figures = []
    for count in (1, 2):
        out = tmp_path / f"out{count}"
        data = write_mosaic(shapes, tmp_path / str(count), count)
        done = run(script, *data, *weights, "--device", "cpu", "--out_dir", out)
        assert done.returncode == 0, done.stderr
        assert ("/4 [" in done.stderr) == (count == 2)  # the bar of the tiles
        figures.append(tables(out)["competition metric"]["all"])
    one, four = figures
    assert (one["cells"], four["cells"]) == (6, 24)
    assert one["TP"] >= 5
    assert four["mAP"] == pytest.approx(one["mAP"], abs=0.02)
    for name in ("TP", "FP", "FN"):
        assert abs(four[name] - 4 * one[name]) <= 1


@pytest.mark.parametrize("script", ["evaluate_single_model.py", "evaluate_ensemble.py"])
def test_help(run, script):
    done = run(script, "--help")
    assert done.returncode == 0
    assert "--confidence_search" in done.stdout


def options(shapes, out_dir, *more) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = (*data_options(shapes), "--out_dir", out_dir, "--device", "cpu", *more)
    return parser.parse_args([str(argument) for argument in arguments])


def test_the_threshold_that_a_search_finds_scores_as_promised(shapes, untrained, tmp_path):
    run_evaluation([untrained()], options(shapes, tmp_path))
    plain = tables(tmp_path)
    run_evaluation([untrained()], options(shapes, tmp_path, "--confidence_search"))
    assert {name: tables(tmp_path)[name] for name in plain} == plain
    search = tables(tmp_path)["confidence search"]
    (name,) = set(search) - {"all"}  # an untrained model sees one class everywhere
    threshold = search[name]["best threshold"]
    run_evaluation([untrained()], options(shapes, tmp_path, "--score_thr", threshold))
    again = tables(tmp_path)["competition metric"]["all"]["mAP"]
    assert again == pytest.approx(search["all"]["best mAP"], abs=1e-6)


def test_perfect_predictions_from_elsewhere(shapes, tmp_path):
    truth = load_annotations(shapes / "annotations/annotations_valid_0.json", shapes / "images")
    rows = [
        {
            "image_id": record.id,
            "category_id": truth.category_ids[label],
            "segmentation": {**rle, "counts": rle["counts"].decode()},
            "score": 0.9,
        }
        for record in truth.images
        for label, rle in zip(record.labels, record.rles, strict=True)
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    more = ("--predictions", tmp_path / "results.json", "--confidence_search")
    run_evaluation([], options(shapes, tmp_path / "coco", *more))
    found = tables(tmp_path / "coco")
    assert found["competition metric"]["all"]["mAP"] == 1
    assert found["COCO average precision"]["bar"]["segm AP"] == pytest.approx(1)
    assert found["confidence search"]["all"]["best mAP"] == 1
    assert found["confidence search"]["disc"]["threshold"] is None  # all were taken

    folder = tmp_path / "labels"
    folder.mkdir()
    for record in truth.images:
        labels = sum((i + 1) * coco_mask.decode(rle) for i, rle in enumerate(record.rles))
        tifffile.imwrite(folder / f"{record.id}.tif", labels)
    run_evaluation([], options(shapes, tmp_path / "peer", "--predictions", folder))
    found = tables(tmp_path / "peer")
    assert found["competition metric"]["all"]["mAP"] == 1
    assert found["COCO average precision"]["all"]["bbox AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--annotation_file", "nowhere.json"), "nowhere.json: no such annotation file"),
        (("--annotation_file", "pyproject.toml"), "pyproject.toml: not readable as JSON"),
        (("--fold", 7), "annotations_valid_7.json"),
        (("--predictions", "nowhere.json"), "--predictions nowhere.json"),
        (("--predictions", "README.md"), "--predictions README.md: not readable as JSON"),
        (("--predictions", "tests"), "3 label image.* missing"),
        (("--out", "tests"), "--out tests: is a folder"),
        (("--out", "nowhere.pth"), "--out nowhere.pth: is read by this evaluation"),
        (("--predictions", "tests", "--confidence_search"), "--confidence_search"),
        ((), "nowhere.pth"),
    ],
)
def test_bad_input(shapes, tmp_path, more, part):
    weights = "nowhere.pth" if "nowhere.pth" in part else "README.md"
    with pytest.raises(InputError, match=part):
        run_evaluation([weights], options(shapes, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_missing_weights_are_noticed_before_images_are_read(tmp_path):
    arguments = options(tmp_path, tmp_path / "out")  # without any annotation
    with pytest.raises(InputError, match="nowhere.pth: no such checkpoint"):
        run_evaluation(["nowhere.pth"], arguments)


def test_an_output_folder_that_is_a_file(shapes, tmp_path):
    (tmp_path / "file").touch()
    arguments = options(shapes, tmp_path / "file", "--predictions", tmp_path / "results.json")
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match="--out_dir .*file: cannot be written to"):
        run_evaluation([], arguments)


def test_missing_images_and_empty_sets(shapes, tmp_path):
    source = json.loads((shapes / "annotations/annotations_valid_0.json").read_text())
    for image in source["images"][1:]:
        image["file_name"] = f"lost_{image['file_name']}"
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(source))
    arguments = options(shapes, tmp_path / "out", "--annotation_file", path)
    with pytest.raises(InputError) as caught:
        run_evaluation([], arguments)
    assert [line for line in caught.value.details if "lost_valid1" in line]
    assert [line for line in caught.value.details if "lost_valid2" in line]
    path.write_text(json.dumps({**source, "images": [], "annotations": []}))
    with pytest.raises(InputError, match="no usable image"):
        run_evaluation([], arguments)


def test_classes_of_the_weights_that_the_annotations_lack(shapes, untrained, tmp_path):
    weights = untrained(names=("cat", "box", "bar"))
    with pytest.raises(InputError, match=r"cat, box, bar.*disc, box, bar"):
        run_evaluation([weights], options(shapes, tmp_path))


def test_scripts_start_without_heavy_imports():
    """`--help` answers at once because nothing heavy is imported before."""
    import subprocess

    code = "import sys; sys.path.insert(0, 'src'); import evaluate_ensemble, evaluate_single_model;"
    code += "print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_second_level_needs_what_the_models_predict(run, tmp_path):
    options = ("--predictions", "a.json", "--2nd_level_model", "2nd_level_model/catboost.pkl")
    done = run("evaluate_ensemble.py", *options, "--out_dir", tmp_path / "out")
    assert_one_line_error(done, "--2nd_level_model", "--predictions")
