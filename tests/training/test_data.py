"""Which images are trained on, and how often."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import CLASS_NAMES, write_shapes

from cells.annotations import AnnotatedImage
from training.data import load_training_data
from training.dataset import MOST_REPEATS, balance_cell_types
from utils.script import InputError


@pytest.fixture
def shapes_dir(tmp_path):
    return write_shapes(tmp_path / "data", 3, 2)


def load(folder, **options):
    return load_training_data(str(folder / "annotations"), str(folder / "images"), 0, **options)


def test_further_data_are_trained_on(shapes_dir, tmp_path):
    more = write_shapes(tmp_path / "more", 4, 1, seed=1)
    data = load(shapes_dir, extra_folders=[str(more)])
    assert (len(data.train), len(data.valid), len(data.files)) == (7, 2, 2)
    assert sum(str(more) in str(record.path) for record in data.train) == 4
    assert len(load(shapes_dir).train) == 3


def test_further_data_of_other_classes_are_refused(shapes_dir, tmp_path):
    more = write_shapes(tmp_path / "more", 1, 1)
    path = more / "annotations" / "annotations_train_0.json"
    coco = json.loads(path.read_text())
    coco["categories"].reverse()
    coco["categories"][0]["name"] = "other"
    path.write_text(json.dumps(coco))
    with pytest.raises(InputError, match="--extra_data"):
        load(shapes_dir, extra_folders=[str(more)])


@pytest.mark.parametrize("changed", ["validation", "--extra_data"])
def test_the_same_classes_in_another_order_are_refused(shapes_dir, changed):
    """Labels are numbers: those of one file would be others in the other."""
    split = "valid" if changed == "validation" else "train"
    extra = write_shapes(shapes_dir / "more", 1, 1)
    folder = shapes_dir if changed == "validation" else extra
    path = folder / "annotations" / f"annotations_{split}_0.json"
    coco = json.loads(path.read_text())
    for category, name in zip(coco["categories"], reversed(CLASS_NAMES), strict=True):
        category["name"] = name
    path.write_text(json.dumps(coco))
    with pytest.raises(InputError, match=changed):
        load(shapes_dir, extra_folders=[str(extra)])


def test_what_cannot_be_used_is_left_out_when_asked_for(shapes_dir):
    path = shapes_dir / "annotations" / "annotations_train_0.json"
    coco = json.loads(path.read_text())
    coco["annotations"][0]["segmentation"] = "none"
    path.write_text(json.dumps(coco))
    with pytest.raises(InputError, match="invalid"):
        load(shapes_dir)
    cells = [len(image.labels) for image in load(shapes_dir, skip_invalid=True).train]
    assert cells == [5, 6, 6]


def test_the_fold_is_part_of_the_files_names(shapes_dir):
    for split in ("train", "valid"):
        old = shapes_dir / "annotations" / f"annotations_{split}_0.json"
        old.rename(old.with_name(f"annotations_{split}_3.json"))
    data = load_training_data(str(shapes_dir / "annotations"), str(shapes_dir / "images"), 3)
    assert [path.name for path in data.files] == ["annotations_train_3.json"]
    assert data.class_names == CLASS_NAMES
    assert [record.path.name for record in data.valid] == ["valid0.png", "valid1.png"]


def record(*labels: int, crowds: int = 0) -> AnnotatedImage:
    """With cells of these labels, the last of which are crowd regions."""
    iscrowd = np.arange(len(labels)) >= len(labels) - crowds
    labels = np.array(labels, np.int64)
    return AnnotatedImage("a", Path("a.png"), (9, 9), np.zeros((0, 4)), labels, [], iscrowd)


def test_rare_types_are_repeated():
    often = [record(0, 0, 1) for _ in range(6)]
    rare, empty = record(1, 1), record()
    chosen = balance_cell_types([*often, rare, rare, empty])
    assert sum(r is rare for r in chosen) == 6  # 2 records, three times each
    assert sum(r is empty for r in chosen) == 1
    assert len(chosen) == 13


def test_an_image_is_of_its_most_frequent_type_and_shares_are_rounded():
    records = [*(record(0) for _ in range(7)), *(record(2, 2, 0) for _ in range(2))]
    chosen = balance_cell_types(records)
    assert [sum(r is one for r in chosen) for one in records] == [1] * 7 + [4] * 2  # 3.5
    assert chosen[:7] == records[:7]
    assert balance_cell_types([record(), record()])[1].labels.tolist() == []
    assert balance_cell_types([]) == []
    crowded = record(2, 0, 0, 0, crowds=3)  # one sure cell
    chosen = balance_cell_types([*(record(0) for _ in range(4)), crowded])
    assert sum(r is crowded for r in chosen) == 4


def test_a_single_rare_image_is_not_repeated_for_ever():
    rare = record(1)
    chosen = balance_cell_types([*(record(0) for _ in range(200)), rare])
    assert sum(r is rare for r in chosen) == MOST_REPEATS == 10
