"""Files with cells that a program could misread without a word."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile

from cells.imports.coco import read_images
from cells.label_images import read_labels
from utils.script import InputError

SIZE = (20, 30)


def pieces(count: int, value: int, dtype: type) -> np.ndarray:
    labels = np.zeros(SIZE, dtype)
    for i in range(count):
        labels[2:5, 3 + 6 * i : 6 + 6 * i] = value
    return labels


@pytest.mark.parametrize(("value", "dtype"), [(255, np.uint8), (65535, np.uint16), (1, bool)])
def test_black_and_white_does_not_tell_cells_apart(tmp_path, value, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pieces(3, value, dtype))
    with pytest.raises(InputError, match="a.tif: black and white, with 3 pieces"):
        read_labels(path, SIZE)
    tifffile.imwrite(path, pieces(1, value, dtype))
    assert read_labels(path, SIZE).max() == 1


def test_a_cell_in_pieces_is_a_cell(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pieces(3, 1, np.uint8))
    assert np.count_nonzero(read_labels(path, SIZE) == 1) == 27


@pytest.mark.parametrize("key", ["images", "categories"])
def test_ids_that_two_entries_share_are_refused(tmp_path, key):
    coco = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]}
            for i in range(2)
        ],
        "categories": [{"id": i, "name": "ab"[i]} for i in range(2)],
        "annotations": [],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco))
    images, names, strays = read_images(path)
    assert (len(images), names, strays) == (2, ["a", "b"], [])
    coco[key][1]["id"] = 0
    path.write_text(json.dumps(coco))
    with pytest.raises(InputError, match=f"a.json: {key}: id 0 occurs 2 times"):
        read_images(path)
