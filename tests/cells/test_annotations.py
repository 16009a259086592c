"""Annotation files: everything that loads, and every problem that is reported."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cells.annotations import check_same_classes, load_annotations
from cells.rle import to_rle
from utils.script import InputError

SQUARE = np.zeros((20, 30), np.uint8)
SQUARE[5:9, 10:16] = 1  # 4 rows, 6 columns


@pytest.fixture
def coco(tmp_path):
    """A valid file with one image, and a function that writes and loads a changed copy."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30), 128, np.uint8))
    rle = coco_mask.encode(np.asfortranarray(SQUARE))
    rle["counts"] = rle["counts"].decode()
    valid = {
        "images": [{"id": "a", "file_name": "a.png", "width": 30, "height": 20}],
        "categories": [{"id": 7, "name": "astro"}, {"id": 3, "name": "cort"}],
        "annotations": [
            {"id": 1, "image_id": "a", "category_id": 7, "segmentation": rle, "iscrowd": 0}
        ],
    }

    def load(change=lambda c: None, **options):
        changed = copy.deepcopy(valid)
        change(changed)
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(changed))
        return load_annotations(path, tmp_path, **options)

    return load


def test_loads_masks_boxes_and_labels_in_category_order(coco):
    found = coco()
    assert found.class_names == ("cort", "astro")
    (image,) = found.images
    assert image.image_size == (20, 30)
    assert image.boxes.tolist() == [[10, 5, 16, 9]]
    assert image.labels.tolist() == [1]
    np.testing.assert_array_equal(coco_mask.decode(image.rles[0]), SQUARE)


@pytest.mark.parametrize("kind", ["polygon", "compressed", "uncompressed"])
def test_every_form_of_mask_gives_the_same_pixels(kind):
    runs = []
    flat = SQUARE.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    segmentation = {
        "polygon": [[10, 5, 16, 5, 16, 9, 10, 9]],
        "compressed": coco_mask.encode(np.asfortranarray(SQUARE)),
        "uncompressed": {"size": [20, 30], "counts": runs},
    }[kind]
    np.testing.assert_array_equal(coco_mask.decode(to_rle(segmentation, 20, 30)), SQUARE)


def set_mask(segmentation):
    return lambda c: c["annotations"][0].update(segmentation=segmentation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][0].update(file_name="b.png"), "no such image"),
        (lambda c: c["images"][0].update(width=31), "is 30 x 20, recorded as 31 x 20"),
        (lambda c: c["annotations"][0].update(category_id=1), "unknown category_id 1"),
        (lambda c: c["annotations"][0].update(image_id="x"), "'x' is not among the images"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "id 1 occurs 2 times"),
        (set_mask([[1, 2, 3, 4]]), "degenerate polygon"),
        (set_mask([[0, 0, 90, 0, 90, 9]]), "outside the image"),
        (set_mask([[2.2, 2.2, 2.3, 2.2, 2.3, 2.3]]), "covers no pixel"),
        (set_mask({"size": [30, 20], "counts": [600]}), "RLE size [30, 20] differs"),
        (set_mask({"size": [20, 30], "counts": [5, 6]}), "do not add up"),
        (set_mask({"size": [20, 30], "counts": "R4"}), "do not add up"),
        (set_mask({"size": [20, 30], "counts": [600]}), "covers no pixel"),
        (set_mask(None), "neither polygons nor RLE"),
        (set_mask({"size": 5, "counts": [600]}), "RLE size 5 differs"),
        (set_mask({"size": {}, "counts": [600]}), "RLE size {} differs"),
        (set_mask([[{}, 1, 2, 3, 4, 5]]), "something else than numbers"),
        (set_mask([[1, 1, "2", 3, 4, 5]]), "something else than numbers"),
        (set_mask([[1, 1, 10**400, 3, 4, 5]]), "something else than numbers"),
        (lambda c: c["annotations"][0].update(image_id=[]), "image_id '[]' is not among"),
        (lambda c: c["annotations"][0].update(category_id={}), "unknown category_id '{}'"),
    ],
)
def test_problem_is_reported_and_can_be_skipped(coco, change, message):
    with pytest.raises(InputError, match="--skip_invalid") as caught:
        coco(change)
    assert any(message in line for line in caught.value.details)
    if "images" not in message:  # an unusable image leaves nothing to load here
        try:
            assert sum(len(i.rles) for i in coco(change, skip_invalid=True).images) <= 2
        except InputError as error:
            assert "no usable image" in str(error)


def test_all_problems_come_in_one_report(coco):
    def change(c):
        c["annotations"].append({**c["annotations"][0], "id": 2, "category_id": 99})
        c["annotations"].append({**c["annotations"][0], "id": 3, "image_id": "zz"})
        c["images"].append({"id": "b", "file_name": "b.png", "width": 3, "height": 3})

    with pytest.raises(InputError) as caught:
        coco(change)
    assert len(caught.value.details) == 3


def test_skipping_keeps_the_rest(coco):
    def change(c):
        c["annotations"].append({**c["annotations"][0], "id": 2, "category_id": 99})

    assert len(coco(change, skip_invalid=True).images[0].rles) == 1


def test_an_image_of_one_pixel(coco, tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), np.full((1, 1), 128, np.uint8))
    row = {"id": "one", "file_name": "one.png", "width": 1, "height": 1}
    found = coco(lambda c: c["images"].append(row))
    assert [image.image_size for image in found.images] == [(20, 30), (1, 1)]


def test_image_without_cells_is_fine(coco):
    found = coco(lambda c: c.update(annotations=[]))
    assert found.images[0].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", '{"images": []}', '{"images": 3}', "[" * 9999]
)
def test_file_that_is_not_coco(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="x.json"):
        load_annotations(tmp_path / "x.json", tmp_path)


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("images", "width", -30),
        ("images", "height", 0),
        ("images", "height", "20"),
        ("images", "width", 30.5),
        ("images", "width", float("nan")),
        ("images", "width", True),
        ("images", "file_name", 7),
        ("images", "file_name", ""),
        ("images", "id", []),
        ("images", "id", float("nan")),
        ("categories", "id", None),
        ("categories", "id", "one"),  # beside a number
        ("categories", "name", 3),
    ],
)
def test_values_that_cannot_be(coco, key, name, value):
    def change(c):
        c["categories"].append({"id": 77, "name": "further"})
        c[key][0][name] = value

    with pytest.raises(InputError, match=f"'{key}'.*COCO"):
        coco(change, skip_invalid=True)


def test_whole_numbers_may_be_written_with_a_point(coco):
    def change(content):
        content["images"][0].update(width=30.0, height=20.0, id=5.0)
        content["annotations"][0].update(image_id=5, category_id=7.0)

    found = coco(change)
    assert type(found.images[0].id) is int and len(found.images[0].rles)
    assert found.images[0].image_size == (20, 30)
    assert [type(side) for side in found.images[0].image_size] == [int, int]


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000, "."])
def test_names_that_no_file_has(coco, name):
    with pytest.raises(InputError) as caught:
        coco(lambda c: c["images"][0].update(file_name=name))
    assert caught.value.details


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such annotation file"):
        load_annotations(tmp_path / "x.json", tmp_path)


def test_classes_are_compared_with_or_without_their_order():
    check_same_classes("--weights", ("a", "b"), "the annotations", ("b", "a"))
    check_same_classes("--weights", ("a", "b"), "the annotations", ["a", "b"], same_order=True)
    with pytest.raises(InputError, match=r"--weights: its classes \(a, c\).*annotations \(b, a\)"):
        check_same_classes("--weights", ("a", "c"), "the annotations", ("b", "a"))
    with pytest.raises(InputError, match="in this order"):
        check_same_classes("x", ("a", "b"), "y", ("b", "a"), same_order=True)
