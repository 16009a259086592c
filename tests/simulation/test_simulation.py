"""The simulator: reproducible, annotated exactly, with the statistics of real cells."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import assert_one_line_error
from pycocotools import mask as coco_mask

from cells.annotations import load_annotations
from cells.masks import Crop, window_of
from simulation.cell_types import CELL_TYPES
from simulation.render import render
from simulation.shapes import random_layout

SIZE = (520, 704)  # height, width
TYPES = tuple(CELL_TYPES)


def tree(folder: Path) -> dict[str, bytes]:
    """Contents of all files by their path in the folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def covered(cells: list[Crop], size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    for cell in cells:
        mask[window_of(*cell)] |= cell.mask
    return mask


def layout_file(path: Path, rows: list[dict], names: dict[int, str]) -> Path:
    """COCO file of one image of 120 x 100 pixels."""
    image = {"id": "a", "file_name": "nowhere.png", "width": 120, "height": 100}
    categories = [{"id": key, "name": name} for key, name in names.items()]
    rows = [{"id": i, "image_id": "a", **row} for i, row in enumerate(rows)]
    coco = {"images": [image], "annotations": rows, "categories": categories}
    path.write_text(json.dumps(coco))
    return path


def test_data_set_loads_and_does_not_depend_on_workers(run, tmp_path):
    options = ("--n_train", 4, "--n_valid", 1, "--image_size", 161, 97)
    runs = {"a": 1, "b": 2}
    for name, workers in runs.items():
        extra = ("--out_dir", tmp_path / name, "--seed", 5, "--workers", workers)
        done = run("simulate_cells.py", *options, *extra)
        assert done.returncode == 0, done.stderr
    files = {name: tree(tmp_path / name) for name in runs}
    assert len(files["a"]) == 4 + 1 + 2
    assert files["a"] == files["b"]
    first, second = (files["a"][f"images/train_000{i}_shsy5y.png"] for i in (0, 3))
    assert first != second
    path = tmp_path / "a/annotations/annotations_train_0.json"
    found = load_annotations(path, tmp_path / "a/images")
    assert found.class_names == TYPES
    assert [set(image.labels.tolist()) for image in found.images] == [{0}, {1}, {2}, {0}]
    coco = json.loads(path.read_text())
    assert all(isinstance(image["id"], str) for image in coco["images"])
    for row in coco["annotations"]:
        rle = row["segmentation"]
        assert isinstance(rle["counts"], str)
        assert row["bbox"] == coco_mask.toBbox(rle).tolist()
        assert row["area"] == coco_mask.area(rle)
        assert row["iscrowd"] == 0
    image = cv2.imread(str(tmp_path / "a/images" / coco["images"][0]["file_name"]), -1)
    assert (image.shape, image.dtype) == ((97, 161), np.uint8)


def test_given_layouts_are_drawn(start, tmp_path):
    mask = np.zeros((100, 120), np.uint8)
    mask[40:60, 30:70] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    rows = [{"category_id": 4, "segmentation": rle}]
    path = layout_file(tmp_path / "layouts.json", rows, {4: "astro"})
    options = ("--n_train", 2, "--n_valid", 0, "--layouts", path)
    done = start("simulate_cells.py", "--out_dir", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    found = load_annotations(
        tmp_path / "out/annotations/annotations_train_0.json", tmp_path / "out/images"
    )
    for image in found.images:
        assert image.labels.tolist() == [1]
        np.testing.assert_array_equal(coco_mask.decode(image.rles[0]), mask)


@pytest.mark.parametrize("name", TYPES)
def test_layouts_follow_the_statistics(name):
    cell_type = CELL_TYPES[name]
    layouts = [random_layout(cell_type, SIZE, np.random.default_rng(seed)) for seed in range(8)]
    counts = [len(cells) for cells in layouts]
    areas = [cell.mask.sum() for cells in layouts for cell in cells]
    assert cell_type.counts[0] * 0.8 <= min(counts) <= max(counts) <= cell_type.counts[-1]
    # medians of real annotations
    assert np.median(counts) == pytest.approx(cell_type.counts[3], rel=0.35)
    assert np.median(areas) == pytest.approx(cell_type.areas[3], rel=0.2)
    share = np.mean([covered(cells, SIZE).mean() for cells in layouts])
    assert share == pytest.approx({"shsy5y": 0.21, "astro": 0.18, "cort": 0.02}[name], rel=0.5)


@pytest.mark.parametrize("name", TYPES)
def test_images_have_the_grey_values_of_real_ones(name):
    spreads = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        cells = random_layout(CELL_TYPES[name], SIZE, rng)
        image = render(cells, name, SIZE, rng)
        assert abs(image.mean() - 128) < 2
        spreads.append(image.std())
        mask = covered(cells, SIZE)
        assert image[mask].std() > 1.2 * image[~mask].std()
    assert 5 < np.median(spreads) < 18


@pytest.mark.parametrize("size", [(32, 32), (33, 401), (97, 61)])
@pytest.mark.parametrize("name", TYPES)
def test_small_and_odd_sizes(name, size):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        cells = random_layout(CELL_TYPES[name], size, rng)
        for cell in cells:
            x, y = cell.offset
            height, width = cell.mask.shape
            assert 0 <= x <= x + width <= size[1]
            assert 0 <= y <= y + height <= size[0]
            assert cell.mask.any(axis=0)[[0, -1]].all()
            assert cell.mask.any(axis=1)[[0, -1]].all()
        assert render(cells, name, size, rng).shape == size


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (64, 64)])
def test_extreme_masks_and_none(shape):
    cells = [Crop(np.ones(shape, bool), (0, 0))]
    for seed in range(10):
        for layout in (cells, []):
            assert render(layout, "astro", (64, 64), np.random.default_rng(seed)).std() > 0


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--n_train", -1), "--n_train"),
        (("--n_train", 0, "--n_valid", 0), "--n_train"),
        (("--image_size", 10, 500), "--image_size"),
        (("--seed", -1), "--seed"),
        (("--workers", 0), "--workers"),
        (("--layouts", "nowhere.json"), "nowhere.json"),
    ],
)
def test_bad_options(run, tmp_path, options, part):
    done = run("simulate_cells.py", "--out_dir", tmp_path / "out", *options)
    assert_one_line_error(done, part)
    assert not (tmp_path / "out").exists()


SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]


@pytest.mark.parametrize(
    ("rows", "names", "part"),
    [
        ([], {1: "astro"}, "no annotated cells"),
        ([{"category_id": 1, "segmentation": SQUARE}], {1: "nucleus"}, "shsy5y"),
        ([{"category_id": 9, "segmentation": SQUARE}], {1: "astro"}, "category_id"),
        ([{"category_id": 1, "segmentation": []}], {1: "astro"}, "annotation 0"),
        (
            [{"category_id": i, "segmentation": SQUARE} for i in (1, 2)],
            {1: "astro", 2: "cort"},
            "one type",
        ),
    ],
)
def test_bad_layouts(run, tmp_path, rows, names, part):
    path = layout_file(tmp_path / "layouts.json", rows, names)
    done = run("simulate_cells.py", "--out_dir", tmp_path / "out", "--layouts", path)
    assert_one_line_error(done, "layouts.json", part)


def test_output_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "out").write_text("")
    options = ("--n_train", 1, "--n_valid", 0, "--image_size", 64, 64)
    done = run("simulate_cells.py", "--out_dir", tmp_path / "out", *options)
    assert_one_line_error(done, "out")


def test_annotations_of_other_images_are_not_written_over(run, tmp_path):
    options = ("--out_dir", tmp_path, "--n_train", 1, "--n_valid", 0, "--image_size", 64, 64)
    for _ in range(2):  # its own are
        done = run("simulate_cells.py", *options)
        assert done.returncode == 0, done.stderr
    path = tmp_path / "annotations" / "annotations_train_0.json"
    path.write_text(path.read_text().replace("train_0000", "well_A1"))
    before = tree(tmp_path)
    done = run("simulate_cells.py", *options)
    assert_one_line_error(done, "--out_dir", "annotations_train_0.json", "other images")
    assert tree(tmp_path) == before
