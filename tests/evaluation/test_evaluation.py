"""Evaluation: figures against independent computations, and the scripts as users run them."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from helpers import CLASS_NAMES
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cells.annotations import AnnotatedImage, AnnotationSet, load_annotations
from cells.instances import Candidates, Instances
from cells.masks import encode, label_image, rle_iou, to_rles
from cells.rle import foreground_pixels, rle_crop
from evaluation.coco_ap import match_image, summarise_coco
from evaluation.evaluation import (
    compare_instances,
    evaluate,
    for_each_image,
    image_result,
    per_image_table,
    summarise,
)
from evaluation.evaluator import Examiner
from evaluation.job import add_arguments, run_evaluation
from evaluation.label_images import LabelImages
from evaluation.metrics import IOU_THRESHOLDS, iou_with_label_image, score_image
from evaluation.pictures import FALSE_POSITIVE, MISS, TRUE_POSITIVE, draw_errors
from evaluation.prediction_io import Results, saved_results
from evaluation.sources import ModelPredictions
from evaluation.thresholds import CONFIDENCES, best_confidence, image_curve, precision_and_recall
from utils.script import InputError

SIZE = (60, 80)


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def boxes_of(rles: list[dict]) -> np.ndarray:
    """Tight boxes, float32 [N, 4], x1 y1 x2 y2."""
    boxes = np.array([coco_mask.toBbox(rle) for rle in rles], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def annotated(masks: list[np.ndarray], labels=None, iscrowd=None, image_id="a") -> AnnotatedImage:
    rles = [encode(mask) for mask in masks]
    return AnnotatedImage(
        id=image_id,
        path=Path(f"{image_id}.png"),
        image_size=SIZE,
        boxes=boxes_of(rles),
        labels=np.array([0] * len(masks) if labels is None else labels, np.int64),
        rles=rles,
        iscrowd=np.array([False] * len(masks) if iscrowd is None else iscrowd, bool),
    )


def predicted(masks: list[np.ndarray], scores=None, labels=None) -> Instances:
    rles = [encode(mask) for mask in masks]
    crops = [rle_crop(rle) for rle in rles]
    return Instances(
        image_size=SIZE,
        boxes=boxes_of(rles),
        scores=np.array([1] * len(masks) if scores is None else scores, np.float32),
        labels=np.array([0] * len(masks) if labels is None else labels, np.int64),
        masks=[crop.astype(np.float32) for crop, _ in crops],
        offsets=np.array([offset for _, offset in crops], np.int64).reshape(-1, 2),
    )


def random_case(seed: int, cells: int = 12) -> tuple[AnnotatedImage, Instances]:
    """Overlapping discs and predictions near them, with classes, scores with ties, and a crowd."""
    rng = np.random.default_rng(seed)
    places = rng.uniform((0, 0, 3), (80, 60, 9), (cells, 3))
    moved = np.vstack([places + rng.normal(0, 0.7, places.shape)] * 2)[: cells + 5]
    labels = rng.integers(0, 3, len(moved))
    record = annotated(
        [disc(*place) for place in places],
        labels[:cells],
        iscrowd=np.arange(cells) == cells - 1,
        image_id=f"image{seed}",
    )
    scores = rng.integers(1, 99, len(moved)) / 100
    return record, predicted([disc(*place) for place in moved], scores, labels)


# The metric


@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (40, 33), (300, 2)])
def test_foreground_pixels_equal_decoding(shape):
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < share for share in (0.5, 0.02, 0.98, 1, 0)]
    pixels, owner = foreground_pixels([encode(mask) for mask in masks])
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(pixels[owner == i], np.flatnonzero(mask.ravel(order="F")))
    assert len(foreground_pixels([])[0]) == 0


@pytest.mark.parametrize("cells", [0, 3, 300])
def test_iou_equals_pycocotools(cells):
    record, instances = random_case(0, cells)
    labels = label_image(instances)
    resolved = [encode(labels == i + 1) for i in range(len(instances))]
    iou = iou_with_label_image(labels, len(instances), record.rles)
    np.testing.assert_array_equal(iou, rle_iou(resolved, record.rles))


@pytest.mark.parametrize("shift", [2, 10, 22, 40, 55])
def test_shifted_disc(shift):
    """Discs of radius r at distance d share 2 r^2 acos(d / 2r) - d / 2 sqrt(4 r^2 - d^2)."""
    radius, size = 90, (200, 300)
    masks = [disc(x, 100, radius, size) for x in (100, 100 + shift)]
    common = 2 * radius**2 * np.arccos(shift / 2 / radius)
    common -= shift / 2 * np.sqrt(4 * radius**2 - shift**2)
    iou = common / (2 * np.pi * radius**2 - common)
    assert np.abs(iou - IOU_THRESHOLDS).min() > 0.002, "too near to a threshold for pixels"
    score = score_image(masks[1].astype(np.int32), 1, [encode(masks[0])])
    np.testing.assert_array_equal(score.tp, iou > IOU_THRESHOLDS)
    assert score.ap == pytest.approx((iou > IOU_THRESHOLDS).mean())


def test_of_overlapping_predictions_the_better_one_gets_the_pixels():
    left, right = disc(30, 30, 10), disc(38, 30, 10)
    truth = annotated([left, right & ~left])
    for scores, expected in (((0.9, 0.8), 1.0), ((0.8, 0.9), 0.0)):
        result = image_result(truth, compare_instances(predicted([left, right], scores), truth))
        assert (result.score.ap == 1.0) == (expected == 1.0)


# Tables


def test_each_type_is_averaged_over_its_own_images():
    cell = disc(30, 30, 9)
    records = [
        annotated([cell], [0], image_id="found"),
        annotated([cell], [0], image_id="missed"),
        annotated([cell, disc(60, 40, 5)], [2, 2], image_id="half"),
        annotated([], image_id="empty"),
    ]
    answers = [[cell], [], [cell], []]
    results = [
        image_result(record, compare_instances(predicted(masks), record))
        for record, masks in zip(records, answers, strict=True)
    ]
    table = summarise(results, CLASS_NAMES)
    assert list(table.index) == ["disc", "bar", "all"]
    assert table["mAP"].tolist() == pytest.approx([0.5, 0.5, (1 + 0 + 0.5 + 1) / 4])
    assert table["images"].tolist() == [2, 1, 4]
    assert table["cells"].tolist() == [2, 2, 4]
    assert table.loc["all", ["TP", "FP", "FN"]].tolist() == [2, 0, 2]
    assert table["recall"].tolist() == pytest.approx([0.5, 0.5, 0.5])
    per_image = per_image_table(results, CLASS_NAMES)
    assert per_image["AP"].tolist() == [1, 0, 0.5, 1]
    assert per_image["cell_type"].tolist() == ["disc", "disc", "bar", ""]


def stock_coco(cases: list[tuple[AnnotatedImage, Instances]], iou_type: str) -> np.ndarray:
    """pycocotools used as its documentation says; precision [10, 101, classes]."""
    truth, found = [], []
    for number, (record, instances) in enumerate(cases):
        for rows, item, rles in ((truth, record, record.rles), (found, instances, None)):
            for i, rle in enumerate(to_rles(instances) if rles is None else rles):
                x1, y1, x2, y2 = item.boxes[i].tolist()
                row = {
                    "id": len(rows) + 1,
                    "image_id": number,
                    "category_id": int(item.labels[i]),
                    "segmentation": rle,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(coco_mask.area(rle)),
                }
                if rles is None:
                    row["score"] = float(instances.scores[i])
                else:
                    row["iscrowd"] = int(record.iscrowd[i])
                rows.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i, _ in enumerate(cases)],
            "annotations": truth,
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES)],
        }
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(found), iou_type)
        evaluator.params.maxDets = [1, 10, 10000]
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"][:, :, :, 0, 2]


def test_coco_ap_equals_pycocotools(capsys):
    cases = [random_case(seed) for seed in range(6)]
    # one image with more than COCO's 100 detections
    cases.append(random_case(6, 150))
    matches = [match_image(record, found, to_rles(found), 3) for record, found in cases]
    table = summarise_coco(matches, CLASS_NAMES)
    assert capsys.readouterr().out == ""
    for iou_type in ("bbox", "segm"):
        precision = stock_coco(cases, iou_type)
        for name, values in (("AP", precision), ("AP50", precision[:1]), ("AP75", precision[5:6])):
            column = table[f"{iou_type} {name}"]
            np.testing.assert_allclose(column[:3], values.mean(axis=(0, 1)), atol=1e-12)
            assert column["all"] == pytest.approx(values.mean(), abs=1e-12)


def test_coco_ap_of_what_is_absent():
    nothing = annotated([])
    empty = predicted([])
    table = summarise_coco([match_image(nothing, empty, [], 3)], CLASS_NAMES)
    assert table.isna().all(axis=None)
    cell = annotated([disc(30, 30, 9)], [1])
    found = predicted([disc(30, 30, 9)], labels=[1])
    table = summarise_coco([match_image(cell, found, cell.rles, 3)], CLASS_NAMES)
    assert table.loc["box", "segm AP"] == pytest.approx(1)
    assert table.loc["all", "segm AP"] == pytest.approx(1)
    assert np.isnan(table.loc["disc", "segm AP"])
    wrong = replace(found, labels=np.array([0]))
    agnostic = summarise_coco([match_image(cell, wrong, cell.rles, 3, class_agnostic=True)], ())
    assert agnostic.loc["all", "bbox AP"] == pytest.approx(1)
    assert list(agnostic.index) == ["all"]


# Confidence thresholds


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_gives_what_each_threshold_would(seed):
    record, instances = random_case(seed)
    curve = image_curve(compare_instances(instances, record), instances.scores, 0, 0.5)
    for i, confidence in enumerate(CONFIDENCES):
        kept = instances[instances.scores >= confidence]
        score = compare_instances(kept, record).score()
        assert curve.ap[i] == pytest.approx(score.ap, abs=1e-12)
        assert curve.counts[:, i].tolist() == [score.tp[0], score.fp[0], score.fn[0]]
    kept = instances[instances.scores >= np.float32(0.5)]
    expected = compare_instances(kept, record).score().ap
    assert curve.ap_now == pytest.approx(expected, abs=1e-12)


def test_best_confidence_of_each_class():
    """Class 0: a false cell of 0.40 beside a true one of 0.80; class 1: a true one of 0.30."""
    cell, other = disc(20, 30, 8), disc(60, 30, 8)
    first, second = annotated([cell]), annotated([cell], [1])
    found = predicted([cell, other], [0.8, 0.4]), predicted([cell], [0.3], [1])
    curves = [
        image_curve(compare_instances(found[0], first), found[0].scores, 0, 0.2),
        image_curve(compare_instances(found[1], second), found[1].scores, 1, 0.5),
    ]
    table = best_confidence(curves, CLASS_NAMES)
    assert table.loc["disc", ["mAP", "best threshold", "best mAP"]].tolist() == [0.5, 0.41, 1]
    assert table.loc["box", ["mAP", "best threshold", "best mAP"]].tolist() == [0, 0.3, 1]
    assert table.loc["all", ["mAP", "best mAP"]].tolist() == [0.25, 1]
    precision, recall = precision_and_recall(curves)
    assert precision[0] == pytest.approx(2 / 3)
    assert recall[0] == 1
    assert recall[-1] == 0
    assert np.isnan(precision[-1])


# Predictions in files


def truth_set(records: list[AnnotatedImage], category_ids=(10, 20, 30)) -> AnnotationSet:
    return AnnotationSet(CLASS_NAMES, category_ids, records)


def save(path, cases) -> None:
    with saved_results(path, (10, 20, 30)) as writer:
        for record, instances in cases:
            writer.write(record, instances, to_rles(instances))


def test_saved_predictions_come_back_exactly(tmp_path):
    cases = [random_case(0), (annotated([], image_id="none"), predicted([])), random_case(1)]
    save(tmp_path / "results.json", cases)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    read = Results(tmp_path / "results.json", truth_set([record for record, _ in cases]))
    for record, instances in cases:
        again = read[record.id]
        for field in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(again, field), getattr(instances, field))
        np.testing.assert_array_equal(label_image(again), label_image(instances))


def test_nothing_found_is_an_empty_list(tmp_path):
    save(tmp_path / "results.json", [(annotated([]), predicted([]))])
    assert json.loads((tmp_path / "results.json").read_text()) == []


@pytest.mark.parametrize(("of_truth", "of_results"), [(7, "7"), ("7", 7), (7, 7)])
def test_image_ids_as_strings_or_integers(tmp_path, of_truth, of_results):
    record = annotated([disc(30, 30, 9)], image_id=of_truth)
    row = {"image_id": of_results, "category_id": 20, "score": 1, "segmentation": record.rles[0]}
    (tmp_path / "results.json").write_text(json.dumps([row]))
    found = Results(tmp_path / "results.json", truth_set([record]))[of_truth]
    assert found.labels.tolist() == [1]
    np.testing.assert_array_equal(found.boxes, record.boxes)


def test_invalid_predictions_are_reported_together(tmp_path, capsys):
    record = annotated([disc(30, 30, 9)])
    good = {"image_id": "a", "category_id": 10, "score": 0.5, "segmentation": record.rles[0]}
    bad = [
        {**good, "image_id": "x"},
        {**good, "category_id": 1},
        {**good, "score": None},
        {**good, "segmentation": {"size": [2, 2], "counts": "4"}},
        {**good, "bbox": [1, 2, 3, "4"]},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps([good, *bad]))
    with pytest.raises(InputError, match="5 invalid prediction.*--skip_invalid") as caught:
        Results(path, truth_set([record]))
    for line, part in zip(
        caught.value.details,
        ("image_id 'x'", "category_id 1 ", "score None", "RLE size", "bbox"),
        strict=True,
    ):
        assert part in line
    assert len(Results(path, truth_set([record]), skip_invalid=True)["a"]) == 1
    assert "5 invalid" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.tif", "a_labels.tif", "a_cp_masks.png", "a.npy"])
def test_label_images(tmp_path, name):
    masks = [disc(20, 30, 8), disc(60, 30, 9)]
    labels = (700 * masks[0] + 3 * masks[1]).astype(np.uint16)
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, labels)
    elif name.endswith("png"):
        cv2.imwrite(str(tmp_path / name), labels)
    else:
        np.save(tmp_path / name, labels.astype(np.float32))
    record = annotated(masks)
    found = LabelImages(tmp_path, truth_set([record]))["a"]
    assert len(found) == 2
    assert compare_instances(found, record).score().ap == 1
    np.testing.assert_array_equal(found.boxes, record.boxes[::-1])


def test_label_images_without_background_or_without_cells(tmp_path):
    record = annotated([disc(30, 30, 9)])
    np.save(tmp_path / "a.npy", np.full(SIZE, 5))
    labels = LabelImages(tmp_path, truth_set([record]))
    assert labels["a"].boxes.tolist() == [[0, 0, 80, 60]]
    np.save(tmp_path / "a.npy", np.zeros(SIZE, np.uint8))
    assert len(labels["a"]) == 0


@pytest.mark.parametrize("labels", [np.zeros((5, 5)), np.full(SIZE, 0.5), np.zeros((*SIZE, 3))])
def test_label_images_that_are_none(tmp_path, labels):
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(InputError, match="a.npy"):
        _ = LabelImages(tmp_path, truth_set([annotated([])]))["a"]


def test_missing_label_images_are_reported_together(tmp_path):
    records = [annotated([], image_id=i) for i in ("a", "b", "c")]
    np.save(tmp_path / "b.npy", np.zeros(SIZE, int))
    with pytest.raises(InputError, match="2 label image") as caught:
        LabelImages(tmp_path, truth_set(records))
    assert len(caught.value.details) == 2


# Pictures, rescoring, memory


def test_three_colours():
    """One cell found, one missed, one invented: outlines in the colour of each."""
    found, missed, invented = disc(15, 15, 8), disc(60, 15, 8), disc(40, 45, 8)
    record, instances = annotated([found, missed]), predicted([found, invented])
    comparison = compare_instances(instances, record)
    image = np.full((*SIZE, 3), 128, np.uint8)
    picture = draw_errors(image, record, instances, comparison)
    for color, (x, y) in ((TRUE_POSITIVE, (15, 15)), (MISS, (60, 15)), (FALSE_POSITIVE, (40, 45))):
        ys, xs = np.nonzero((picture[: 16 * 60] == color).all(axis=2))
        assert abs(xs.mean() / 16 - x) < 1.5
        assert abs(ys.mean() / 16 - y) < 1.5


def test_rescoring_is_reported_before_and_after():
    record, false = annotated([disc(20, 30, 8)]), disc(60, 30, 8)
    instances = predicted([disc(20, 30, 8), false], [0.9, 0.8])
    examiner = Examiner(
        lambda record, image: Candidates(instances, 0, 0.0),
        truth_set([record]),
        rescore=lambda found, image: found[found.scores > image.max()],
    )
    examination = examiner(record, np.full((*SIZE, 3), 0.85))
    assert examination.before.score.ap == 0.5
    assert examination.result.score.ap == 1


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((*SIZE, 3), np.uint8))
    record, instances = random_case(0)
    record = replace(record, path=tmp_path / "a.png")
    examiner = Examiner(lambda record, image: Candidates(instances, 0, 0.0), truth_set([record]))

    def kept(count: int) -> int:
        tracemalloc.start()
        results = for_each_image(examiner, [record] * count)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(results) == count
        return size

    kept(5)
    full_masks = len(instances) * SIZE[0] * SIZE[1]
    assert (kept(45) - kept(5)) / 40 < full_masks / 4


class FakeEnsemble:
    """Answers with one cell of its class 0."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.class_names = class_names

    def candidates(self, image: np.ndarray, least_score: float) -> Candidates:
        return Candidates(predicted([disc(30, 30, 9)]), 0, 0.5)


def test_classes_are_matched_by_name():
    source = ModelPredictions(FakeEnsemble(("box", "bar", "disc")), CLASS_NAMES)
    assert source(None, None).instances.labels.tolist() == [1]
    with pytest.raises(InputError, match=r"cat, box, bar.*disc, box, bar"):
        ModelPredictions(FakeEnsemble(("cat", "box", "bar")), CLASS_NAMES)


# The scripts


def data_options(shapes) -> tuple:
    return ("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations")


def tables(folder) -> dict:
    return json.loads((folder / "evaluation.json").read_text())["tables"]


@pytest.fixture(scope="module")
def evaluated(run, shapes, untrained, tmp_path_factory):
    """Output folder of one run with everything switched on."""
    folder = tmp_path_factory.mktemp("evaluated")
    done = run(
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


def test_two_processes_do_what_one_does(run, shapes, untrained, evaluated, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29517")
    done = run(
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


def test_evaluate_as_the_training_calls_it(shapes):
    truth = load_annotations(shapes / "annotations/annotations_valid_0.json", shapes / "images")
    results = evaluate(lambda image: Instances.empty(image.shape[:2]), truth.images)
    assert summarise(results, truth.class_names).loc["all", "mAP"] == 0


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--score_thr", 1.5), "--score_thr 1.5"),
        (("--annotation_file", "nowhere.json"), "nowhere.json: no such annotation file"),
        (("--annotation_file", "pyproject.toml"), "pyproject.toml: not readable as JSON"),
        (("--fold", 7), "annotations_valid_7.json"),
        (("--predictions", "nowhere.json"), "--predictions nowhere.json"),
        (("--predictions", "README.md"), "--predictions README.md: no readable JSON"),
        (("--predictions", "tests"), "3 label image.* missing"),
        (("--predictions", "tests", "--confidence_search"), "--confidence_search"),
        ((), "nowhere.pth"),
    ],
)
def test_bad_input(shapes, tmp_path, more, part):
    with pytest.raises(InputError, match=part):
        run_evaluation(["nowhere.pth"], options(shapes, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(shapes, tmp_path):
    (tmp_path / "file").touch()
    arguments = options(shapes, tmp_path / "file", "--predictions", tmp_path / "results.json")
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match="--out_dir .*file: cannot be made"):
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
