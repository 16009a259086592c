"""Files of other programs read back as masks that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import roifile

from cells.exports.formats import FORMATS
from cells.exports.segmented import SegmentedImage
from cells.exports.writers import WRITERS
from cells.imports import coco
from cells.imports.formats import ENDINGS
from cells.imports.polygons import fill
from cells.imports.readers import READERS
from cells.imports.rois import class_of
from cells.instances import Instances
from cells.masks import Crop, paste
from cells.outlines import pixel_outlines
from utils.script import InputError

NAMES = ("round", "long")
# a ring, a cell in two pieces with a cell touching it, one pixel in the last corner
DRAWN = [
    "aaaa....bb..",
    "a..a.cccbb..",
    "a..a.ccc....",
    "aaaa.ccc.bbb",
    "...........d",
]
SIZE = (5, 12)
SQUARE = [(0, 0), (3, 0), (3, 3), (0, 3)]
CLASSES = {"a": "round", "b": "long", "c": "round", "d": "long"}


def masks_of(drawn: list[str]) -> dict[str, np.ndarray]:
    """The mask of each letter, bool [height, width]."""
    letters = np.array([list(row) for row in drawn])
    return {letter: letters == letter for letter in sorted({*"".join(drawn)} - {"."})}


def segmented(drawn: list[str], name: str = "plate_a") -> SegmentedImage:
    masks = list(masks_of(drawn).values())
    labels = [NAMES.index(CLASSES[letter]) for letter in masks_of(drawn)]
    instances = Instances(
        SIZE,
        np.zeros((len(masks), 4), np.float32),
        np.linspace(0.9, 0.5, len(masks), dtype=np.float32),
        np.array(labels, np.int64),
        [mask.astype(np.float32) for mask in masks],
        np.zeros((len(masks), 2), np.int64),
    )
    image = np.zeros((*SIZE, 3), np.uint8)
    return SegmentedImage(name, "plate/a.png", image, instances, NAMES)


def written(tmp_path, kind, drawn):
    path = tmp_path / f"plate_a{FORMATS[kind].suffix}"
    WRITERS[kind](path, segmented(drawn))
    return path


def read(path, kind, classes=()):
    if kind == "coco":
        (image,), _, strays = coco.read_images(path)
        assert (image.image_size, strays) == (SIZE, [])
        return image.contents
    return READERS[kind](path, SIZE, classes)


def rows(crop: Crop) -> list[list[int]]:
    return paste(crop.mask, crop.offset, SIZE).astype(int).tolist()


def test_the_first_ending_of_a_format_is_what_is_written():
    assert all(FORMATS[kind].suffix == endings[0] for kind, endings in ENDINGS.items())
    assert READERS.keys() | {"coco"} == ENDINGS.keys()


@pytest.mark.parametrize("kind", ENDINGS)
def test_what_is_written_comes_back(tmp_path, kind):
    contents = read(written(tmp_path, kind, DRAWN), kind)
    assert contents.problems == []
    assert not any(cell.iscrowd for cell in contents.cells)
    expected = masks_of(DRAWN)
    assert [rows(cell.crop) for cell in contents.cells] == [
        mask.astype(int).tolist() for mask in expected.values()
    ]
    for cell in contents.cells:  # tight
        assert (
            cell.crop.mask.any(axis=0)[[0, -1]].all() and cell.crop.mask.any(axis=1)[[0, -1]].all()
        )
    classes = [None if kind in ("labels", "masks") else CLASSES[name] for name in expected]
    assert [cell.class_name for cell in contents.cells] == classes


@pytest.mark.parametrize("kind", ENDINGS)
def test_no_cell_comes_back_as_none(tmp_path, kind):
    contents = read(written(tmp_path, kind, ["." * SIZE[1]] * SIZE[0]), kind)
    assert (contents.cells, contents.problems) == ([], [])


@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize("content", [b"", b"no such format", b"PK\x03\x04 half a zip", b"[1, {"])
def test_files_that_are_none_end_with_one_line(tmp_path, kind, content):
    path = tmp_path / f"a{ENDINGS[kind][0]}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        read(path, kind)


def test_any_mask_comes_back_from_its_outlines():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = rng.random(SIZE) < rng.random()
        mask[2, 3] = True
        assert (np.array(rows(fill([pixel_outlines(mask)], SIZE))) == mask).all()


def test_a_pixel_belongs_to_an_outline_that_encloses_its_centre():
    triangle = np.array([(0, 0), (4, 0), (0, 4)])
    assert rows(fill([[triangle]], SIZE))[:4] == [
        [1, 1, 1, 0] + [0] * 8,
        [1, 1, 0, 0] + [0] * 8,
        [1, 0, 0, 0] + [0] * 8,
        [0] * 12,
    ]
    beyond = np.array([(-3.0, -3.0), (30.0, -3.0), (30.0, 2.0), (-3.0, 2.0)])
    assert fill([[beyond]], SIZE).mask.shape == (2, 12)


def test_what_lies_beyond_the_image_changes_nothing_in_it():
    rng = np.random.default_rng(0)
    there = 0
    for _ in range(100):
        ring = rng.uniform((-8, -8), (20, 13), (rng.integers(3, 12), 2))
        wide = fill([[ring + (20, 20)]], (45, 52))
        expected = paste(wide.mask, wide.offset, (45, 52))[20:25, 20:32]
        if expected.any():
            there += 1
            assert rows(fill([[ring]], SIZE)) == expected.astype(int).tolist()
    assert there > 50


def test_pieces_are_joined_and_rings_within_are_holes():
    """A piece that covers the hole of another fills it; a hole of its own does not."""
    outer, inner = (np.array(corners) for corners in (SQUARE, np.array(SQUARE) / 3 + 1))
    closed = np.vstack([outer, outer[:1]])
    for ring in (outer, closed):
        assert fill([[ring, inner]], SIZE).mask.sum() == 9 - 1
    assert fill([[outer, inner], [inner]], SIZE).mask.sum() == 9
    assert fill([[outer], [outer + (6, 0)]], SIZE).mask.shape == (3, 9)
    with pytest.raises(ValueError, match="no outline"):
        fill([], SIZE)


@pytest.mark.parametrize(
    "ring",
    [
        [(20, 0), (30, 0), (30, 9)],  # outside the image
        [(0.6, 0.6), (0.9, 0.6), (0.9, 0.9)],  # encloses no centre
        [(0, 0), (5, 5)],
        [(0, 0), (5, float("nan")), (5, 5)],
        [(0, 0), (5, 1e30), (5, 5)],
    ],
)
def test_outlines_without_a_pixel(ring):
    with pytest.raises(ValueError):
        fill([[np.array(ring)]], SIZE)


def test_rois_that_are_drawn_in_imagej(tmp_path):
    rectangle = roifile.ImagejRoi(name="long-1", roitype=roifile.ROI_TYPE.RECT)
    rectangle.left, rectangle.top, rectangle.right, rectangle.bottom = 2, 1, 6, 4
    point = roifile.ImagejRoi.frompoints(np.array([(1, 1)]), name="dot")
    point.roitype = roifile.ROI_TYPE.POINT
    path = tmp_path / "a_rois.zip"
    roifile.roiwrite(path, [rectangle, point], mode="w")
    contents = read(path, "rois", NAMES)
    (cell,) = contents.cells
    assert (cell.crop.mask.shape, cell.crop.offset, cell.class_name) == ((3, 4), (2, 1), "long")
    assert len(contents.problems) == 1 and "ROI 2 ('dot')" in contents.problems[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0012-round-0.90", "round"),
        ("0012-T cell-b-1.00-3", "T cell-b"),
        ("0001-0123-0456", None),
        ("long", "long"),
        ("long-12", "long"),
        ("tall", None),
        ("", None),
        (None, None),
    ],
)
def test_classes_in_names_of_rois(name, expected):
    assert class_of(name, NAMES) == expected


def test_features_as_qupath_writes_them(tmp_path):
    square = [[[1, 1, 0], [4, 1, 0], [4, 3, 0], [1, 3, 0], [1, 1, 0]]]
    features = [
        {"geometry": {"type": "Polygon", "coordinates": square}, "properties": {}},
        {
            "geometry": {"type": "Polygon", "coordinates": square},
            "properties": {"classification": {"names": ["Tumor", "Positive"]}},
        },
        {"geometry": {"type": "Point", "coordinates": [1, 1]}},
        {"geometry": {"type": "Polygon", "coordinates": [[[1, 1], [2], "x"]]}},
        {"geometry": {"type": "MultiPolygon", "coordinates": [7]}},
        {"geometry": None},
        "text",
        {"geometry": {"type": "Polygon", "coordinates": [7, [1, 2, 3], [[10**400, 1]] * 3]}},
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(features))
    contents = read(path, "geojson")
    assert [cell.class_name for cell in contents.cells] == [None, "Tumor: Positive"]
    assert [cell.crop.mask.sum() for cell in contents.cells] == [6, 6]
    assert [line.split(": ")[1] for line in contents.problems] == [
        f"feature {i}" for i in range(3, 9)
    ]
