"""Imported cells as annotations, and what is validated on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cells.exports.rois import _path
from cells.imports.contents import ImportedCell
from cells.imports.dataset import LabelledImage, split_by_share, to_coco
from cells.imports.geojson import read_geojson
from cells.masks import Crop
from cells.rle import rle_areas

SIZE = (20, 30)


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(10, 0.2, 2), (10, 0, 0), (10, 1, 10), (3, 0.01, 1), (3, 0.99, 2), (1, 0.4, 0), (2, 0.5, 1)],
)
def test_each_side_of_a_split_has_an_image(count, share, expected):
    names = [f"{number}.png" for number in range(count)]
    chosen = split_by_share(names, share)
    assert len(chosen) == expected
    assert chosen <= set(names)
    assert split_by_share(names[::-1], share) == chosen


def test_annotations_of_imported_cells():
    cells = [
        ImportedCell(Crop(np.ones((2, 3), bool), (4, 5)), "long"),
        ImportedCell(Crop(np.eye(3, dtype=bool), (0, 0)), "round", iscrowd=True),
    ]
    images = [LabelledImage("a", "x/a.png", SIZE, cells), LabelledImage("b", "b.png", SIZE, [])]
    content = to_coco(images, ("round", "long"))
    assert [image["id"] for image in content["images"]] == ["a", "b"]
    assert content["images"][0] == dict(id="a", file_name="x/a.png", width=30, height=20)
    assert content["categories"] == [dict(id=1, name="round"), dict(id=2, name="long")]
    rows = content["annotations"]
    for name, values in (
        ("id", [1, 2]),
        ("category_id", [2, 1]),
        ("bbox", [[4, 5, 3, 2], [0, 0, 3, 3]]),
        ("area", [6, 3]),
        ("iscrowd", [0, 1]),
    ):
        assert [row[name] for row in rows] == values
    assert rle_areas([row["segmentation"] for row in rows]).tolist() == [6, 3]


def geojson_of(tmp_path, ring) -> tuple[int, int]:
    """Cells and problems."""
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([{"type": "Feature", "geometry": geometry}]))
    contents = read_geojson(path, SIZE, ())
    return [int(cell.crop.mask.sum()) for cell in contents.cells], len(contents.problems)


def test_points_of_a_ring_have_two_numbers_or_more(tmp_path):
    ring = [[2, 3], [12, 3], [12, 9], [2, 9], [2, 3]]
    assert geojson_of(tmp_path, ring) == ([60], 0)
    assert geojson_of(tmp_path, [[*point, 7.5] for point in ring]) == ([60], 0)
    assert geojson_of(tmp_path, [[1], [2], [3], [1]]) == ([], 1)
    assert geojson_of(tmp_path, [1, 2, 3, 1]) == ([], 1)


def test_a_closed_path_in_imagejs_form():
    ring = np.array([[1, 2], [5, 2], [5, 9]])
    assert _path(ring).tolist() == [0, 1, 2, 1, 5, 2, 1, 5, 9, 4]
