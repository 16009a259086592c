"""No cell, one pixel, many pixels that are a cell each, 2,000 cells: whatever is done with cells.

Each row of CASES goes through all that reads or writes cells, without networks: what comes back is
as many cells as there were, with their pixels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import ROOT
from pycocotools import mask as coco_mask

from cells.annotations import AnnotatedImage, AnnotationSet, load_annotations
from cells.exports.formats import FORMATS
from cells.exports.segmented import SegmentedImage
from cells.exports.writers import WRITERS
from cells.imports import coco
from cells.imports.contents import ImportedCell
from cells.imports.dataset import LabelledImage, write_annotations
from cells.imports.readers import READERS
from cells.instances import Instances
from cells.masks import Crop
from cells.overview import draw_picture
from cells.pictures import ArrayPicture
from cells.rle import rle_areas, to_rles
from evaluation.coco_ap import coco_average_precision, result_rows
from evaluation.metrics import compare_instances, image_result, per_image_table, summarise
from evaluation.pictures import draw_errors
from evaluation.report import write_results
from evaluation.sources import CocoResults, LabelImages
from evaluation.thresholds import best_confidence, image_curve
from network.merging import mask_nms
from second_level.features.table import FEATURE_NAMES, compute_features
from second_level.model import load_second_level
from second_level.predictions import ImagePredictions, read_predictions, write_predictions
from training.pseudo_labels import Labels, as_part, draw_part, next_round

NAMES = ("round", "long")
SIZE = (205, 300)
PITCH = 5
CASES = {"no cell": (0, 3), "one pixel": (1, 1), "60 pixels": (60, 1), "2,000 cells": (2000, 3)}
IMAGE = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def instances(request) -> Instances:
    """Squares of a side, in rows from the image's first corner on."""
    count, side = request.param
    number = np.arange(count)
    offsets = PITCH * np.stack([number % (SIZE[1] // PITCH), number // (SIZE[1] // PITCH)], axis=1)
    return Instances(
        SIZE,
        np.hstack([offsets, offsets + side]).astype(np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        number % 2,
        [np.full((side, side), 0.9, np.float32)] * count,
        offsets,
    )


@pytest.fixture
def record(instances, tmp_path) -> AnnotatedImage:
    """The same cells as annotations, written for the training and read by it."""
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    cells = [
        ImportedCell(Crop(mask >= 0.5, (int(x), int(y))), NAMES[label])
        for mask, (x, y), label in zip(
            instances.masks, instances.offsets, instances.labels, strict=True
        )
    ]
    path = tmp_path / "annotations.json"
    write_annotations({path: [LabelledImage("a", "a.png", SIZE, cells)]}, NAMES, tmp_path)
    (image,) = load_annotations(path, tmp_path).images
    return image


def decode(rles: list[dict]) -> np.ndarray:
    """Masks uint8 [height, width, N]."""
    return coco_mask.decode(rles) if rles else np.zeros((*SIZE, 0), np.uint8)


def truth_of(record: AnnotatedImage) -> AnnotationSet:
    return AnnotationSet(NAMES, (1, 2), [record])


def test_annotations(instances, record):
    np.testing.assert_array_equal(record.boxes, instances.boxes)
    np.testing.assert_array_equal(record.labels, instances.labels)
    np.testing.assert_array_equal(decode(record.rles), decode(to_rles(instances)))


def rows_of_a_table(path: Path) -> int:
    with open(path, encoding="utf-8", newline="") as file:
        return len(list(csv.DictReader(file)))


def rows_with_runs(path: Path) -> int:
    with open(path, encoding="utf-8", newline="") as file:
        return sum(bool(row["predicted"]) for row in csv.DictReader(file))


TABLES: dict[str, Callable[[Path], int]] = {"csv": rows_of_a_table, "kaggle": rows_with_runs}


@pytest.mark.parametrize("kind", FORMATS)
def test_exports_and_imports(instances, tmp_path, kind):
    path = tmp_path / f"a{FORMATS[kind].suffix}"
    WRITERS[kind](path, SegmentedImage("a", "a.png", IMAGE, instances, NAMES))
    if kind in TABLES:
        assert TABLES[kind](path) == len(instances)
        return
    if kind == "coco":
        contents = coco.read_images(path)[0][0].contents
    else:
        contents = READERS[kind](path, SIZE, NAMES)
    assert contents.problems == []
    assert len(contents.cells) == len(instances)
    areas = sorted(int(cell.crop.mask.sum()) for cell in contents.cells)
    assert areas == sorted(mask.size for mask in instances.masks)


def test_prediction_files(instances, tmp_path):
    write_predictions(tmp_path / "a.pkl", ImagePredictions("a", "a.png", NAMES, instances))
    found = read_predictions(tmp_path / "a.pkl").instances
    np.testing.assert_array_equal(decode(to_rles(found)), decode(to_rles(instances)))
    np.testing.assert_array_equal(found.scores, instances.scores)


def test_second_level(instances):
    table = compute_features(instances, IMAGE)
    assert table.shape == (len(instances), len(FEATURE_NAMES))
    folder = ROOT / "2nd_level_model"
    model = load_second_level(folder / "catboost.pkl", folder / "features.csv")
    predicted = model.predict(instances, IMAGE)
    assert predicted.shape == (len(instances),)
    assert np.isfinite(predicted).all()
    assert len(model.rescore(instances, IMAGE)) <= len(instances)


def test_evaluation(instances, record, tmp_path):
    """All are found; nothing of nothing is perfect, too."""
    truth, count = truth_of(record), len(instances)
    rows = result_rows(record, instances, truth.category_ids)
    write_results(tmp_path / "results.json", [rows])
    folder = tmp_path / "labels"
    folder.mkdir()
    WRITERS["labels"](
        folder / "a_labels.tif", SegmentedImage("a", "a.png", IMAGE, instances, NAMES)
    )
    for source in (CocoResults(tmp_path / "results.json", truth), LabelImages(folder, truth)):
        comparison = compare_instances(source.instances(record), record)
        result = image_result(record, comparison)
        assert (result.cells, result.predictions, result.score.ap) == (count, count, 1)
    assert summarise([result], NAMES).loc["all", "mAP"] == 1
    assert len(per_image_table([result], NAMES)) == 1
    average = coco_average_precision([rows], truth).loc["all", "segm AP"]
    assert average == pytest.approx(1) if count else np.isnan(average)
    comparison = compare_instances(instances, record)
    curve = image_curve(comparison, instances.scores, 0, 0.5)
    assert best_confidence([curve], NAMES).loc["all", "mAP"] == 1
    assert draw_errors(IMAGE, record, instances, comparison).shape[1] % SIZE[1] == 0


def test_pictures(instances):
    picture = draw_picture(ArrayPicture(IMAGE), instances)
    assert picture.shape[1] % SIZE[1] == 0


def test_overlaps(instances):
    assert mask_nms(instances, 0.1).tolist() == list(range(len(instances)))


def test_pseudo_labels(instances, record, tmp_path):
    """Sure cells, and the same once more as unsure ones."""
    part = json.loads(json.dumps(as_part(Labels(instances, [instances]), NAMES)))
    assert draw_part(IMAGE, part).shape[1] % SIZE[1] == 0
    original = {"images": [], "annotations": [], "categories": []}
    original["categories"] = [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)]
    path = tmp_path / "next.json"
    path.write_text(json.dumps(next_round(original, {"a.png": part}, {})))
    (image,) = load_annotations(path, tmp_path).images
    assert image.iscrowd.sum() == (~image.iscrowd).sum() == len(instances)
    assert rle_areas(image.cell_rles).tolist() == [mask.size for mask in instances.masks]
