"""Files with cells that a program could misread without a word."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile

from cells.imports.coco import read_images
from cells.label_images import label_crops, read_labels
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


def test_numbers_without_gaps(tmp_path):
    """As they are in order; what is negative is background, and there may be none."""
    labels = np.zeros(SIZE, np.int32)
    labels[0, :3], labels[5:7, 4], labels[19, 29], labels[9, 9] = 70000, 3, 2, -5
    np.save(tmp_path / "a.npy", labels)
    found = read_labels(tmp_path / "a.npy", SIZE)
    assert found.dtype == np.int32
    assert np.unique(found).tolist() == [0, 1, 2, 3]
    assert (found[0, 2], found[6, 4], found[19, 29], found[9, 9]) == (3, 2, 1, 0)
    crops = label_crops(found)
    assert [crop.offset for crop in crops] == [(29, 19), (4, 5), (0, 0)]
    assert [crop.mask.shape for crop in crops] == [(1, 1), (2, 1), (1, 3)]
    assert all(crop.mask.all() for crop in crops)
    np.save(tmp_path / "a.npy", labels - 6)
    assert read_labels(tmp_path / "a.npy", SIZE).max() == 1
    np.save(tmp_path / "a.npy", np.where(labels > 2, 7.0, 4))
    assert np.unique(read_labels(tmp_path / "a.npy", SIZE)).tolist() == [1, 2]
    np.save(tmp_path / "a.npy", np.zeros(SIZE))
    assert not read_labels(tmp_path / "a.npy", SIZE).any()


def test_touching_cells_keep_their_own_pixels():
    labels = np.zeros(SIZE, np.int32)
    labels[3:6, 3:6], labels[4, 4:9] = 1, 2
    first, second = label_crops(labels)
    assert (first.mask.sum(), first.offset) == (7, (3, 3))
    assert (second.mask.sum(), second.offset) == (5, (4, 4))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(SIZE, 0.5), "with fractions"),
        (np.full(SIZE, np.nan), "with fractions"),
        (np.full(SIZE, 1 + 1j), "of complex128 values"),
        (np.ones((30, 20), int), r"of shape \(30, 20\), but the image is \(20, 30\)"),
        (np.array([{}], dtype=object), "unreadable label image"),
    ],
)
def test_what_is_no_label_image(tmp_path, labels, message):
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(InputError, match=f"a.npy: .*{message}"):
        read_labels(tmp_path / "a.npy", SIZE)


@pytest.mark.parametrize(("other", "pieces_are_told"), [(0, True), (254, False), (1, False)])
def test_black_and_white_has_one_other_value_only(tmp_path, other, pieces_are_told):
    labels = pieces(2, 255, np.uint8)
    labels[15, 3:6] = other
    cv2.imwrite(str(tmp_path / "a.png"), labels)
    if pieces_are_told:
        with pytest.raises(InputError, match="2 pieces"):
            read_labels(tmp_path / "a.png", SIZE)
    else:
        assert read_labels(tmp_path / "a.png", SIZE).max() == 2


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
