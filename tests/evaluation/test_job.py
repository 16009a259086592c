"""An evaluation of saved predictions from its options to its files, without any model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch.distributed as dist
from discs import SIZE, annotated, disc, predicted

from evaluation.coco_ap import result_rows
from evaluation.job import add_arguments, run_evaluation
from evaluation.report import OFFSETS, write_results
from utils.files import sha256
from utils.script import InputError

MASKS = [disc(15, 15, 8), disc(60, 15, 9), disc(40, 40, 8)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with annotations; of three cells two are found, one of them with a low score."""
    (tmp_path / "images").mkdir()
    records = [annotated(MASKS[:2], [0, 0], image_id="a"), annotated(MASKS[2:], [1], image_id="b")]
    found = [
        predicted([MASKS[0], disc(40, 45, 5)], [0.9, 0.3], [0, 0]),
        predicted(MASKS[2:], [0.2], [1]),
    ]
    truth = []
    for record in records:
        cv2.imwrite(str(tmp_path / "images" / record.path), np.full(SIZE, 128, np.uint8))
        rows = zip(record.labels.tolist(), record.rles, strict=True)
        truth += [
            {"image_id": record.id, "category_id": 10 * label + 10, "segmentation": rle}
            for label, rle in rows
        ]
    content = {
        "images": [
            {"id": r.id, "file_name": r.path.name, "height": SIZE[0], "width": SIZE[1]}
            for r in records
        ],
        "annotations": [{"id": i, "iscrowd": 0, **row} for i, row in enumerate(truth, start=1)],
        "categories": [{"id": 10, "name": "disc"}, {"id": 20, "name": "box"}],
    }
    (tmp_path / "annotations").mkdir()
    for name in ("annotations/annotations_valid_1.json", "other.json"):
        (tmp_path / name).write_text(json.dumps(content))
    rows = [result_rows(r, f, (10, 20)) for r, f in zip(records, found, strict=True)]
    write_results(tmp_path / "found.json", rows)
    return tmp_path


def parse(*options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(list(map(str, options)))


def evaluate(folder: Path, *options: object, weights: tuple = (), **more: object) -> dict:
    """The tables of the report."""
    given = ["--image_dir", folder / "images", "--annotation_dir", folder / "annotations"]
    given += ["--fold", 1, "--device", "cpu", "--out_dir", folder / "out", *options]
    run_evaluation(weights, parse(*given), **more)
    return json.loads((folder / "out/evaluation.json").read_text())["tables"]


def test_tables_and_files(folder, capsys):
    found = folder / "found.json"
    tables = evaluate(
        folder, "--predictions", found, "--out", folder / "new/again.json", "--confidence_search"
    )
    printed = capsys.readouterr().out
    assert [title for title in tables if title in printed] == [
        *("competition metric", "COCO average precision", OFFSETS, "confidence search")
    ]
    assert [tables[OFFSETS]["all"][name] for name in ("cells", "x", "y")] == [2, 0, 0]
    # image a: one of two cells found, and a false one; image b: all
    metric = tables["competition metric"]
    assert metric["disc"]["mAP"] == pytest.approx(1 / 3)
    assert metric["all"]["mAP"] == pytest.approx((1 / 3 + 1) / 2)
    assert [metric["all"][name] for name in ("cells", "TP", "FP", "FN")] == [3, 2, 1, 1]
    assert metric["all"]["precision"] == pytest.approx(2 / 3)
    assert tables["COCO average precision"]["box"]["segm AP"] == pytest.approx(1)
    search = tables["confidence search"]
    assert search["disc"]["best threshold"] == 0.31  # without the false one
    assert search["disc"]["best mAP"] == pytest.approx(1 / 2)
    assert search["disc"]["threshold"] is None  # JSON has no nan
    report = json.loads((folder / "out/evaluation.json").read_text())
    assert report["sha256"][str(found)] == sha256(found)
    assert len(report["sha256"]) == 2
    assert report["options"]["fold"] == 1
    assert {"python", "torch", "mmdet"} <= report["versions"].keys()
    assert (folder / "new/again.json").read_text() == found.read_text()
    assert f"written: {folder}/out/evaluation.json, {folder}/out/per_image.csv" in printed
    per_image = pd.read_csv(folder / "out/per_image.csv")
    assert per_image["image"].tolist() == ["a", "b"]
    assert per_image["predictions"].tolist() == [2, 1]


def test_a_score_threshold_and_another_annotation_file(folder):
    options = ("--predictions", folder / "found.json", "--score_thr", 0.3)
    for more in ((), ("--annotation_file", folder / "other.json", "--fold", 7)):
        table = evaluate(folder, *options, *more)["competition metric"]
        assert [table["all"][name] for name in ("TP", "FP", "FN")] == [1, 1, 2]  # 0.3 reaches it
    assert "confidence search" not in evaluate(folder, *options)


def test_pictures_of_an_earlier_evaluation_are_replaced(folder):
    show = folder / "show"
    for threshold, names in ((0.0, ["AP0.3333_a", "AP1.0000_b"]), (0.5, ["AP0.0000_b", "AP0.5"])):
        options = ("--predictions", folder / "found.json", "--show_dir", show)
        evaluate(folder, *options, "--score_thr", threshold)
        files = sorted(path.name for path in show.iterdir())
        assert len(files) == 3
        assert files[-1] == "precision_recall.png"
        assert all(file.startswith(name) for file, name in zip(files, names, strict=False))
        for file in files:
            assert cv2.imread(str(show / file)).std() > 0


def test_label_images_have_no_classes_and_no_scores(folder):
    labels = folder / "labels"
    labels.mkdir()
    np.save(labels / "a.npy", MASKS[0] + 2 * MASKS[1].astype(np.uint16))
    np.save(labels / "b.npy", MASKS[2].astype(np.uint16))
    tables = evaluate(folder, "--predictions", labels)
    assert list(tables["COCO average precision"]) == ["all"]
    assert tables["competition metric"]["all"]["mAP"] == 1
    with pytest.raises(InputError, match="--confidence_search: label images"):
        evaluate(folder, "--predictions", labels, "--confidence_search")


def test_outputs_are_refused_before_the_work(folder):
    found = folder / "found.json"
    options = ("--predictions", found)
    with pytest.raises(InputError, match="is a folder"):
        evaluate(folder, *options, "--out", folder)
    for read in (found, folder / "annotations/annotations_valid_1.json"):
        with pytest.raises(InputError, match="is read by this evaluation"):
            evaluate(folder, *options, "--out", read)
    with pytest.raises(InputError, match="--out_dir .*cannot be written to"):
        evaluate(folder, *options, "--out_dir", found / "x")
    with pytest.raises(InputError, match="--out .*cannot be written to"):
        evaluate(folder, *options, "--out", found / "x/y.json")
    assert not (folder / "out/evaluation.json").exists()


def test_options_that_are_not_given():
    args = parse()
    assert not (args.report or args.confidence_search or args.skip_invalid)
    assert (args.out_dir, args.fold) == ("evaluation", 0)
    assert (args.annotation_file, args.predictions, args.out, args.show_dir) == (None,) * 4
    assert parse("--report").report


def test_models_score_as_what_they_saved(folder, untrained):
    """Their classes are the annotations' in another order."""
    models = {"weights": (str(untrained(names=("box", "disc"))),)}
    out = folder / "saved.json"
    tables = evaluate(folder, "--out", out, **models)
    rows = json.loads(out.read_text())
    assert len(rows) > 4
    assert evaluate(folder, "--predictions", out) == tables
    report = json.loads((folder / "out/evaluation.json").read_text())
    assert report["sha256"][str(out)] == sha256(out)
    above = ("--score_thr", 1.01 * max(row["score"] for row in rows))
    tables = evaluate(folder, *above, **models)
    assert tables["competition metric"]["all"]["FP"] == 0
    assert evaluate(folder, "--predictions", out, *above) == tables


def test_a_second_level_sees_what_reaches_a_share_of_the_models_threshold(folder, untrained):
    models = {"weights": (str(untrained(names=("disc", "box"))),)}
    evaluate(folder, "--out", folder / "all.json", **models)
    scores = [row["score"] for row in json.loads((folder / "all.json").read_text())]
    seen = []

    def rescore(instances, image):
        seen.append(instances.scores.tolist())
        assert image.shape == (*SIZE, 3)
        return instances[:1]

    for share, expected in ((0.98, []), (0.9, scores)):
        seen.clear()
        options = ("--score_thr", max(scores) / 0.95)
        tables = evaluate(folder, *options, **models, rescore=rescore, detection_share=share)
        assert sum(seen, []) == pytest.approx(expected)
        assert tables["before rescoring"]["all"]["FP"] == 0  # no score reaches the threshold
        after = tables["competition metric"]["all"]
        assert after["TP"] + after["FP"] == (2 if expected else 0)  # one in each image


def test_a_process_joins_others_and_leaves_them(folder):
    options = ("--predictions", folder / "found.json")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
    evaluate(folder, *options)
    assert not dist.is_initialized()


def test_only_the_first_process_reports(folder, monkeypatch, capsys):
    def gather(shares, mine):
        shares[:] = [mine, mine]

    monkeypatch.setattr("evaluation.job.join_processes", lambda device: (device, 1, 2))
    monkeypatch.setattr("evaluation.evaluator.dist.all_gather_object", gather)
    with pytest.raises(FileNotFoundError):
        evaluate(folder, "--predictions", folder / "found.json")
    assert capsys.readouterr().out == ""
