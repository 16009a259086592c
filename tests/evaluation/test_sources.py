"""Predictions of models, of COCO results files and of label images."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from discs import SIZE, annotated, disc, predicted, random_case, truth_set
from helpers import CLASS_NAMES

from cells.annotations import AnnotationSet
from cells.instances import Candidates
from cells.masks import label_image
from evaluation.coco_ap import result_rows
from evaluation.metrics import compare_instances
from evaluation.report import write_results
from evaluation.sources import CocoResults, FilePredictions, LabelImages, ModelPredictions
from utils.script import InputError


def save(path, cases) -> None:
    write_results(path, [result_rows(*case, (10, 20, 30)) for case in cases])


def test_label_images_of_images_of_one_name_go_by_id(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.ones(SIZE, np.uint8))
    records = [
        replace(annotated([], image_id=name), path=tmp_path / folder / "a.png")
        for name, folder in (("one", "r1"), ("two", "r2"))
    ]
    with pytest.raises(InputError, match="2 label image"):  # whose is a.png?
        LabelImages(tmp_path, truth_set(records))
    for value, record in enumerate(records):
        cv2.imwrite(str(tmp_path / f"{record.id}_labels.png"), np.full(SIZE, value, np.uint8))
    found = LabelImages(tmp_path, truth_set(records))
    assert [len(found.instances(record)) for record in records] == [0, 1]


def test_saved_predictions_come_back_exactly(tmp_path):
    cases = [random_case(0), (annotated([], image_id="none"), predicted([])), random_case(1)]
    save(tmp_path / "results.json", cases)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    read = CocoResults(tmp_path / "results.json", truth_set([record for record, _ in cases]))
    for record, instances in cases:
        again = read.instances(record)
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
    found = CocoResults(tmp_path / "results.json", truth_set([record])).instances(record)
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
        CocoResults(path, truth_set([record]))
    for line, part in zip(
        caught.value.details,
        ("image_id 'x'", "category_id 1 ", "score None", "RLE size", "bbox"),
        strict=True,
    ):
        assert part in line
    assert len(CocoResults(path, truth_set([record]), skip_invalid=True).instances(record)) == 1
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
    found = LabelImages(tmp_path, truth_set([record])).instances(record)
    assert len(found) == 2
    assert compare_instances(found, record).score().ap == 1
    np.testing.assert_array_equal(found.boxes, record.boxes[::-1])


def test_label_images_without_background_or_without_cells(tmp_path):
    record = annotated([disc(30, 30, 9)])
    np.save(tmp_path / "a.npy", np.full(SIZE, 5))
    labels = LabelImages(tmp_path, truth_set([record]))
    assert labels.instances(record).boxes.tolist() == [[0, 0, 80, 60]]
    np.save(tmp_path / "a.npy", np.zeros(SIZE, np.uint8))
    assert len(labels.instances(record)) == 0


@pytest.mark.parametrize(
    "labels", [np.zeros((5, 5)), np.full(SIZE, 0.5), np.zeros((*SIZE, 3)), np.full(SIZE, "1")]
)
def test_label_images_that_are_none(tmp_path, labels):
    record = annotated([])
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(InputError, match="a.npy"):
        LabelImages(tmp_path, truth_set([record])).instances(record)


def test_missing_label_images_are_reported_together(tmp_path):
    records = [annotated([], image_id=i) for i in ("a", "b", "c")]
    np.save(tmp_path / "b.npy", np.zeros(SIZE, int))
    with pytest.raises(InputError, match="2 label image") as caught:
        LabelImages(tmp_path, truth_set(records))
    assert len(caught.value.details) == 2


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


def test_predictions_of_a_file_are_decided_by_their_most_frequent_class():
    found = predicted([disc(30, 30, 9)] * 3, labels=[2, 1, 2])
    for threshold, expected in ((None, -np.inf), (0.0, 0.0), (0.4, 0.4)):
        answer = FilePredictions(lambda record: found, threshold)(annotated([]), None)
        assert answer.instances is found
        assert (answer.deciding_class, answer.threshold) == (2, expected)
    assert FilePredictions(lambda record: found).grey_rule.background == 128


def test_only_a_search_looks_below_the_thresholds_of_the_models():
    asked = []

    class Asked(FakeEnsemble):
        grey_rule = "rule"

        def candidates(self, image, least_score):
            asked.append(least_score)
            return super().candidates(image, least_score)

    for searching in (False, True):
        source = ModelPredictions(Asked(CLASS_NAMES), CLASS_NAMES, searching)
        assert source(None, None).threshold == 0.5
        assert source.grey_rule == "rule"
    assert asked == pytest.approx([np.inf, 0.05])


@pytest.mark.parametrize(
    ("score", "fits"), [(1e9, True), (1.1e9, False), (True, False), (float("nan"), False), ("1", 0)]
)
def test_scores_are_numbers(tmp_path, score, fits):
    record = annotated([disc(30, 30, 9)])
    row = {"image_id": "a", "category_id": 10, "score": score, "segmentation": record.rles[0]}
    (tmp_path / "results.json").write_text(json.dumps([row]))
    read = CocoResults(tmp_path / "results.json", truth_set([record]), skip_invalid=True)
    assert len(read.instances(record)) == fits


def test_boxes_are_taken_as_they_are_given(tmp_path):
    record = annotated([disc(30, 30, 9)])
    row = {"image_id": "a", "category_id": 10, "score": 1, "segmentation": record.rles[0]}
    row["bbox"] = [1, 2, 30, 40]
    (tmp_path / "results.json").write_text(json.dumps([row]))
    found = CocoResults(tmp_path / "results.json", truth_set([record])).instances(record)
    assert found.boxes.tolist() == [[1, 2, 31, 42]]


def test_an_unknown_category_is_told_with_the_first_five_known(tmp_path):
    record = annotated([disc(30, 30, 9)])
    row = {"image_id": "a", "category_id": 9, "score": 1, "segmentation": record.rles[0]}
    (tmp_path / "results.json").write_text(json.dumps([row]))
    for count, listed in ((5, "1, 2, 3, 4, 5)"), (6, "1, 2, 3, 4, 5 ...)")):
        truth = AnnotationSet(tuple("abcdef"[:count]), tuple(range(1, count + 1)), [record])
        with pytest.raises(InputError) as caught:
            CocoResults(tmp_path / "results.json", truth)
        assert listed in caught.value.details[0]


def test_label_images_score_one(tmp_path):
    record = annotated([disc(30, 30, 9)])
    np.save(tmp_path / "a.npy", disc(30, 30, 9).astype(int))
    found = LabelImages(tmp_path, truth_set([record])).instances(record)
    assert (found.scores.tolist(), found.labels.tolist()) == ([1], [0])
    assert found.masks[0].max() == 1


@pytest.mark.parametrize("name", ["a_labels.tif", "a_cp_masks.tif"])
def test_a_picture_beside_the_label_image_is_none(tmp_path, name):
    record = replace(annotated([disc(30, 30, 9)]), path=tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.png"), np.full(SIZE, 7, np.uint8))
    with pytest.raises(InputError, match="1 label image"):
        LabelImages(tmp_path, truth_set([record]))  # the image itself is none, either
    tifffile.imwrite(tmp_path / name, disc(30, 30, 9).astype(np.uint16))
    for image in (record, replace(record, path=tmp_path / "elsewhere" / "a.png")):
        found = LabelImages(tmp_path, truth_set([image])).instances(image)
        assert compare_instances(found, image).score().ap == 1


def test_whole_numbers_as_ids_may_be_written_with_a_point(tmp_path):
    record = annotated([disc(30, 30, 9)], image_id=7)
    save(tmp_path / "results.json", [(record, predicted([disc(30, 30, 9)]))])
    rows = json.loads((tmp_path / "results.json").read_text())
    rows[0].update(image_id=7.0, category_id=float(rows[0]["category_id"]))
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert len(CocoResults(tmp_path / "results.json", truth_set([record])).instances(record)) == 1
