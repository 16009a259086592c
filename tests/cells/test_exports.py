"""Files for other programs, against masks whose answers are known."""

from __future__ import annotations

import csv
import json
import resource

import cv2
import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
from pycocotools import mask as coco_mask

from cells.annotations import load_annotations
from cells.exports import labels
from cells.exports.formats import FORMATS
from cells.exports.kaggle import join_submissions, run_lengths
from cells.exports.segmented import SegmentedImage
from cells.exports.writers import WRITERS
from cells.instances import Instances
from cells.masks import label_image
from cells.outlines import signed_area
from utils.script import InputError

NAMES = ("round", "long")
SIZE = (40, 60)


def scene(masks: list[np.ndarray] | None = None) -> SegmentedImage:
    """A disc over a bar of a lower score, a cell of two pieces and a hole, one pixel, one hidden.

    The image is 10 everywhere, and 50 in the disc.
    """
    frames = np.zeros((5, *SIZE), np.uint8) if masks is None else np.array(masks, np.uint8)
    if masks is None:
        cv2.circle(frames[0], (20, 20), 8, 1, -1)
        frames[1][18:23, 5:50] = 1
        frames[2][2:9, 40:47] = 1
        frames[2][4:6, 42:44] = 0
        frames[2][9:12, 47:52] = 1
        frames[3][39, 59] = 1
        frames[4][19:21, 19:21] = 1
    boxes, crops, offsets = [], [], []
    for frame in frames:
        x, y, w, h = cv2.boundingRect(frame)
        x, y = max(x - 1, 0), max(y - 1, 0)
        crops.append(frame[y : y + h + 2, x : x + w + 2].astype(np.float32) * 0.9)
        boxes.append((x, y, x + w, y + h))
        offsets.append((x, y))
    count = len(frames)
    instances = Instances(
        SIZE,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.arange(count) % 2,
        crops,
        np.array(offsets, np.int64).reshape(-1, 2),
    )
    image = np.full((*SIZE, 3), 10, np.uint8)
    if masks is None:
        image[frames[0].astype(bool)] = 50
    return SegmentedImage("plate_a", "plate/a.png", image, instances, NAMES)


def write(tmp_path, name, segmented):
    path = tmp_path / f"{segmented.name}{FORMATS[name].suffix}"
    WRITERS[name](path, segmented)
    return path


def visible_areas(segmented) -> dict[int, int]:
    labels, areas = np.unique(label_image(segmented.instances), return_counts=True)
    return {int(i): int(n) for i, n in zip(labels, areas, strict=True) if i}


def test_every_format_has_a_writer_and_a_suffix_of_its_own():
    assert FORMATS.keys() == WRITERS.keys()
    assert len({kind.suffix for kind in FORMATS.values()}) == len(FORMATS)


def test_label_images(tmp_path):
    segmented = scene()
    expected = label_image(segmented.instances)
    assert set(np.unique(expected)) == {0, 1, 2, 3, 4}  # the fifth is hidden
    tiff = tifffile.imread(write(tmp_path, "labels", segmented))
    png = cv2.imread(str(write(tmp_path, "masks", segmented)), cv2.IMREAD_UNCHANGED)
    assert tiff.dtype == png.dtype == np.uint16
    assert (tiff == expected).all() and (png == expected).all()


@pytest.mark.parametrize(("most", "enough"), [(5, True), (4, False)])
def test_more_cells_than_16_bits_can_number(tmp_path, monkeypatch, most, enough):
    segmented = scene()
    monkeypatch.setattr(labels, "MOST", most)
    tiff = tifffile.imread(write(tmp_path, "labels", segmented))
    assert tiff.dtype == (np.uint16 if enough else np.uint32)
    assert (tiff == label_image(segmented.instances)).all()
    if enough:
        write(tmp_path, "masks", segmented)
    else:
        with pytest.raises(InputError, match="5 cells do not fit .* --save labels"):
            write(tmp_path, "masks", segmented)


def test_rois_enclose_the_areas_of_the_labels(tmp_path):
    segmented = scene()
    rois = roifile.roiread(write(tmp_path, "rois", segmented))
    areas = visible_areas(segmented)
    assert [int(roi.name[:4]) for roi in rois] == list(areas)
    for roi in rois:
        label = int(roi.name[:4])
        rings = [np.asarray(ring) for ring in roi.coordinates(multi=True)]
        assert sum(map(signed_area, rings)) == areas[label]
        y, x = np.nonzero(label_image(segmented.instances) == label)
        corners = np.concatenate(rings)
        assert corners.min(axis=0).tolist() == [x.min(), y.min()] == [roi.left, roi.top]
        assert corners.max(axis=0).tolist() == [x.max() + 1, y.max() + 1]
        if len(rings) > 1:  # the box of a composite ROI
            assert (roi.right, roi.bottom) == (x.max() + 1, y.max() + 1)
    assert rois[0].name == "0001-round-0.90"
    assert len(rois[1].coordinates(multi=True)) == 2  # the disc cuts the bar in two
    assert len(rois[2].coordinates(multi=True)) == 3  # two pieces, which touch, and a hole


def test_geojson_is_what_qupath_reads(tmp_path):
    segmented = scene()
    content = json.loads(write(tmp_path, "geojson", segmented).read_text())
    assert content["type"] == "FeatureCollection"
    areas = visible_areas(segmented)
    assert [int(f["properties"]["name"]) for f in content["features"]] == list(areas)
    kinds = [feature["geometry"]["type"] for feature in content["features"]]
    assert kinds == ["Polygon", "MultiPolygon", "MultiPolygon", "Polygon"]
    for feature in content["features"]:
        geometry, properties = feature["geometry"], feature["properties"]
        pieces = geometry["coordinates"]
        pieces = [pieces] if geometry["type"] == "Polygon" else pieces
        rings = [np.array(ring) for piece in pieces for ring in piece]
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        area = sum(signed_area(ring[:-1]) for ring in rings)
        assert area == areas[int(properties["name"])] == properties["measurements"]["area"]
        assert properties["objectType"] == "detection"
        assert properties["classification"]["name"] in NAMES
    first = content["features"][0]["properties"]
    assert first["classification"]["name"] == "round"
    assert first["measurements"]["score"] == pytest.approx(0.9)
    assert first["measurements"]["mean_intensity"] == 50
    colours = [f["properties"]["classification"]["color"] for f in content["features"]]
    assert colours[0] == colours[2] == [255, 63, 63]  # red, green, blue
    assert colours[1] == colours[3] == [0, 74, 255]
    assert "label" not in first["measurements"] and "class" not in first["measurements"]


def test_measurements(tmp_path):
    segmented = scene()
    table = pd.read_csv(write(tmp_path, "csv", segmented))
    areas = visible_areas(segmented)
    assert dict(zip(table["label"], table["area"], strict=True)) == areas
    assert list(table["class"]) == ["round", "long", "round", "long"]
    assert list(table["mean_intensity"]) == [50, 10, 10, 10]
    disc, pixel = table.iloc[0], table.iloc[3]
    assert (disc["centroid_x"], disc["centroid_y"]) == (20, 20)
    assert (pixel["centroid_x"], pixel["centroid_y"]) == (59, 39)
    assert disc["axis_major_length"] == pytest.approx(disc["axis_minor_length"])


def test_coco_names_the_image_file(tmp_path):
    segmented = scene()
    path = write(tmp_path, "coco", segmented)
    (tmp_path / "images" / "plate").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images" / "plate" / "a.png"), segmented.image)
    loaded = load_annotations(path, tmp_path / "images")  # as training loads it
    assert loaded.class_names == NAMES
    (image,) = loaded.images
    assert image.path == tmp_path / "images" / "plate" / "a.png"
    assert list(image.labels) == [0, 1, 0, 1, 0]
    masks = [coco_mask.decode(rle) for rle in image.rles]
    assert masks[1].sum() == 5 * 45  # overlaps stay
    assert masks[2].sum() == 49 - 4 + 15


def test_rows_of_coco(tmp_path):
    frame = np.zeros(SIZE, np.uint8)
    frame[10:14, 30:36] = 1
    frame[10, 30] = 0
    content = json.loads(write(tmp_path, "coco", scene([frame, frame])).read_text())
    (image,) = content["images"]
    assert image == {"id": "plate_a", "file_name": "plate/a.png", "width": 60, "height": 40}
    assert content["categories"] == [{"id": 1, "name": "round"}, {"id": 2, "name": "long"}]
    for number, row in enumerate(content["annotations"], start=1):
        del row["segmentation"]
        assert row == {
            "id": number,
            "image_id": "plate_a",
            "category_id": number,
            "bbox": [30, 10, 6, 4],  # of the mask; `scene` moves the one of the instance
            "area": 23,
            "iscrowd": 0,
            "score": pytest.approx((0.9, 0.5)[number - 1]),
        }


def test_kaggle_rows_cover_each_pixel_once(tmp_path):
    segmented = scene()
    first = write(tmp_path, "kaggle", segmented)
    nothing = tmp_path / "nothing.csv"
    WRITERS["kaggle"](nothing, SegmentedImage("none", "none.png", segmented.image, *EMPTY))
    join_submissions(tmp_path / "submission.csv", [first, nothing])
    with open(tmp_path / "submission.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "predicted"]
    assert [row[0] for row in rows[1:]] == ["plate_a"] * 4 + ["none"]
    assert rows[-1][1] == ""
    frame = np.zeros(SIZE[0] * SIZE[1], int)
    for number, (_, text) in enumerate(rows[1:-1], start=1):
        runs = np.array(text.split(), int).reshape(-1, 2)
        assert (np.diff(runs[:, 0]) > 0).all()
        for start, length in runs:
            frame[start - 1 : start - 1 + length] += number
    assert (frame.reshape(SIZE) == label_image(segmented.instances)).all()


@pytest.mark.parametrize(
    ("crop", "offset", "width", "expected"),
    [
        ([[1, 1]], (0, 0), 5, "1 2"),  # the first pixel is number 1
        ([[1] * 5] * 2, (0, 1), 5, "6 10"),  # on from one row to the next
        ([[1, 0, 1], [0, 1, 1]], (2, 3), 10, "33 1 35 1 44 2"),
        ([[0, 1], [0, 0]], (3, 0), 5, "5 1"),
    ],
)
def test_pairs_of_start_and_length(crop, offset, width, expected):
    assert run_lengths(np.array(crop, bool), offset, width) == expected


EMPTY = (Instances.empty(SIZE), NAMES)


@pytest.mark.parametrize("name", FORMATS)
def test_no_cell_is_a_normal_answer(tmp_path, name):
    image = np.zeros((*SIZE, 3), np.uint8)
    path = write(tmp_path, name, SegmentedImage("none", "none.png", image, *EMPTY))
    assert path.stat().st_size > 0


@pytest.mark.parametrize("name", FORMATS)
def test_no_room_leaves_the_earlier_file(tmp_path, name):
    segmented = scene()
    path = write(tmp_path, name, segmented)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(InputError, match="make room"):
            WRITERS[name](path, segmented)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
