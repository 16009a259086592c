"""The simulator: reproducible, annotated exactly, with the statistics of real cells."""

from __future__ import annotations

import filecmp
import json

import numpy as np
import pytest
from helpers import assert_one_line_error
from pycocotools import mask as coco_mask

from utils.annotations import load_annotations
from utils.cell_shapes import CELL_TYPES, random_layout
from utils.images import read_image
from utils.simulation import render


def test_writes_a_data_set_that_loads_and_is_reproducible(run, tmp_path):
    options = ("--n_train", 3, "--n_valid", 1, "--seed", 5, "--image_size", 240, 200)
    for name in ("a", "b"):
        done = run("simulate_cells.py", "--out_dir", tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
    names = [str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*.*")]
    assert len(names) == 6
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", names, shallow=False)[0] == names
    found = load_annotations(
        tmp_path / "a/annotations/annotations_train_0.json", tmp_path / "a/images"
    )
    assert found.class_names == ("shsy5y", "astro", "cort")
    # one cell type an image
    assert [set(image.labels) for image in found.images] == [{0}, {1}, {2}]


def test_draws_given_layouts(run, tmp_path):
    mask = np.zeros((100, 120), bool)
    mask[40:60, 30:70] = True
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle["counts"] = rle["counts"].decode()
    layouts = {
        "images": [{"id": 1, "file_name": "nowhere.png", "width": 120, "height": 100}],
        "categories": [{"id": 4, "name": "astro"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "segmentation": rle}],
    }
    (tmp_path / "layouts.json").write_text(json.dumps(layouts))
    options = ("--n_train", 2, "--n_valid", 0, "--layouts", tmp_path / "layouts.json")
    assert run("simulate_cells.py", "--out_dir", tmp_path / "out", *options).returncode == 0
    found = load_annotations(
        tmp_path / "out/annotations/annotations_train_0.json", tmp_path / "out/images"
    )
    for image in found.images:
        np.testing.assert_array_equal(coco_mask.decode(image.rles[0]).astype(bool), mask)
        assert image.labels.tolist() == [1]


@pytest.mark.parametrize("cell_type", CELL_TYPES, ids=lambda t: t.name)
def test_layouts_follow_the_statistics(cell_type):
    layouts = [
        random_layout(cell_type, (520, 704), np.random.default_rng(seed)) for seed in range(12)
    ]
    median_count = np.median([len(cells) for cells in layouts])
    median_area = np.median([cell.mask.sum() for cells in layouts for cell in cells])
    assert 0.5 < median_count / cell_type.count[0] < 2
    assert 0.5 < median_area / cell_type.area[0] < 2


@pytest.mark.parametrize("cell_type", CELL_TYPES, ids=lambda t: t.name)
@pytest.mark.parametrize("size", [(64, 64), (101, 333)])
def test_cells_lie_in_the_image_and_show(cell_type, size):
    rng = np.random.default_rng(2)
    cells = random_layout(cell_type, size, rng)
    image = render(cells, cell_type.name, size, rng)
    assert image.shape == size
    assert image.dtype == np.uint8
    assert abs(image.mean() - 128) < 8
    covered = np.zeros(size, bool)
    for cell in cells:
        x, y = cell.offset
        height, width = cell.mask.shape
        assert 0 <= x <= x + width <= size[1]
        assert 0 <= y <= y + height <= size[0]
        covered[y : y + height, x : x + width] |= cell.mask
    assert image[covered].std() > image[~covered].std()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--n_train", -1), "--n_train"),
        (("--n_train", 0, "--n_valid", 0), "--n_train"),
        (("--image_size", 10, 10), "--image_size"),
        (("--layouts", "nowhere.json"), "nowhere.json"),
    ],
)
def test_bad_options(run, tmp_path, options, part):
    done = run("simulate_cells.py", "--out_dir", tmp_path / "out", *options)
    assert_one_line_error(done, part)
    assert not (tmp_path / "out").exists()


def test_images_are_read_back_as_written(run, tmp_path):
    run("simulate_cells.py", "--out_dir", tmp_path, "--n_train", 1, "--n_valid", 0)
    (path,) = (tmp_path / "images").iterdir()
    assert read_image(path).shape == (520, 704, 3)
