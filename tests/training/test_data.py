"""Which images are trained on, and how often."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import write_shapes

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


def record(*labels: int) -> SimpleNamespace:
    return SimpleNamespace(labels=np.array(labels, np.int64))


def test_rare_types_are_repeated():
    often = [record(0, 0, 1) for _ in range(6)]
    rare, empty = record(1, 1), record()
    chosen = balance_cell_types([*often, rare, rare, empty])
    assert sum(r is rare for r in chosen) == 6  # 2 records, three times each
    assert sum(r is empty for r in chosen) == 1
    assert len(chosen) == 13


def test_a_single_rare_image_is_not_repeated_for_ever():
    rare = record(1)
    chosen = balance_cell_types([*(record(0) for _ in range(200)), rare])
    assert sum(r is rare for r in chosen) == MOST_REPEATS
