"""Pictures and label images of images that are larger than what is held in memory at once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from cells import drawing, overview
from cells.exports import labels
from cells.exports.labels import label_tiles, write_labels, write_masks
from cells.exports.segmented import SegmentedImage
from cells.instances import Instances
from cells.masks import binary_crops, label_image
from cells.pictures import ArrayPicture


def random_instances(size, count, largest, seed=0):
    rng = np.random.default_rng(seed)
    masks, offsets = [], []
    for _ in range(count):
        h, w = rng.integers(1, largest, 2)
        masks.append(rng.random((h, w), np.float32))
        offsets.append((rng.integers(0, size[1] - w + 1), rng.integers(0, size[0] - h + 1)))
    offsets = np.array(offsets, np.int64)
    sizes = np.array([mask.shape[::-1] for mask in masks])
    boxes = np.hstack([offsets, offsets + sizes]).astype(np.float32)
    scores = rng.random(count, np.float32)
    return Instances(size, boxes, scores, np.zeros(count, np.int64), masks, offsets)


@pytest.mark.parametrize("tile", [16, 64, 1000])
def test_label_tiles_are_the_label_image(monkeypatch, tile):
    monkeypatch.setattr(labels, "TILE", tile)
    instances = random_instances((130, 90), 60, 40)
    rows, columns = -(-130 // tile), -(-90 // tile)
    tiles = list(label_tiles(instances, np.dtype(np.uint16)))
    assert len(tiles) == rows * columns
    lines = [np.hstack(tiles[r * columns : (r + 1) * columns]) for r in range(rows)]
    np.testing.assert_array_equal(np.vstack(lines)[:130, :90], label_image(instances))


def test_large_label_images_are_written_tile_by_tile(monkeypatch, tmp_path):
    instances = random_instances((130, 90), 60, 40)
    segmented = SegmentedImage("a", "a.png", np.zeros((130, 90, 3), np.uint8), instances, ("x",))
    monkeypatch.setattr(labels, "TILE", 64)
    monkeypatch.setattr(labels, "LARGE", 100)
    write_labels(tmp_path / "a.tif", segmented)
    write_masks(tmp_path / "a.png", segmented)
    expected = label_image(instances)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].is_tiled
        np.testing.assert_array_equal(file.asarray(), expected)
    masks = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(masks, expected)


def test_reduced_image_is_the_mean_of_its_pixels(monkeypatch):
    image = np.random.default_rng(0).integers(0, 255, (24, 36, 3), dtype=np.uint8)
    monkeypatch.setattr(overview, "STRIP", 2)  # several strips
    small = overview.reduce(ArrayPicture(image), 4)
    expected = image.reshape(6, 4, 9, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).max() <= 1
    odd = overview.reduce(ArrayPicture(image[:23, :33]), 4)
    assert odd.shape == (6, 9, 3)
    assert np.abs(odd[:5, :8].astype(float) - expected[:5, :8]).max() <= 1


def test_reduced_instances_stay_where_they_are():
    mask = np.ones((8, 12), np.float32)
    tiny = np.ones((1, 1), np.float32)
    offsets = np.array([[6, 10], [33, 21]])
    boxes = np.array([[6, 10, 18, 18], [33, 21, 34, 22]], np.float32)
    instances = Instances((23, 36), boxes, np.ones(2), np.zeros(2, int), [mask, tiny], offsets)
    small = overview.reduced(instances, 4)
    assert small.image_size == (6, 9)
    assert small.offsets.tolist() == [[1, 2], [8, 5]]
    first, second = binary_crops(small)
    # columns 6..18 of 4..20: half, full, full, half; rows 10..18 of 8..20: half, full, half
    assert first[1].all() and first[:, 1].all()
    assert second.tolist() == [[True]]  # a cell of one pixel is seen, too
    assert small.boxes[0].tolist() == [1.5, 2.5, 4.5, 4.5]


def test_only_large_images_are_reduced(monkeypatch):
    instances = random_instances((60, 80), 10, 20)
    picture = ArrayPicture(np.full((60, 80, 3), 128, np.uint8))
    assert overview.draw_picture(picture, instances).shape[0] % 60 == 0
    monkeypatch.setattr(overview, "LONG_SIDE", 30)
    drawn = overview.draw_picture(picture, instances)
    zoom = drawn.shape[0] // 20
    assert drawn.shape == (20 * zoom, 27 * zoom, 3)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10


def test_long_thin_images_are_not_enlarged_beyond_what_is_reduced(monkeypatch):
    monkeypatch.setattr(drawing, "LONG_SIDE", 240)
    instances = random_instances((10, 80), 2, 5)
    picture = ArrayPicture(np.full((10, 80, 3), 128, np.uint8))
    assert overview.draw_picture(picture, instances).shape == (30, 240, 3)
