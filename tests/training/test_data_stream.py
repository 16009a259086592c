"""Augmentation and the stream of training samples."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import ROOT

from cells.annotations import load_annotations
from training.config import load_config, training_pipeline
from training.dataset import CellDataset, EndlessSampler, build_loader
from training.transforms import LoadCellAnnotations, LoadCellImage, RandomIntensity, RandomWarp
from utils.device import seed_everything


@pytest.fixture(scope="module")
def records(shapes):
    return load_annotations(
        shapes / "annotations/annotations_train_0.json", shapes / "images"
    ).images


def load(record) -> dict:
    return LoadCellAnnotations()(LoadCellImage()({"record": record}))


def test_masks_follow_the_image_through_the_warp(records):
    """Discs are brighter and boxes darker than the background, before and after."""
    for seed in range(6):
        seed_everything(seed)
        sample = RandomWarp(size=(112, 96), network_scale=1.1, scale=(0.8, 1.4))(load(records[0]))
        assert sample["img"].shape == (96, 112, 3)
        frames = sample["gt_masks"].to_ndarray().astype(bool)
        assert len(frames) == len(sample["gt_labels"]) == len(sample["gt_bboxes"]) > 0
        for frame, label in zip(frames, sample["gt_labels"], strict=True):
            inside = np.median(sample["img"][frame])
            assert (inside > 200) == (label == 0)
            assert (inside < 90) == (label == 1)


def test_warp_without_randomness_is_the_identity(records):
    seed_everything(1)
    still = RandomWarp(
        (128, 96), 1.0, scale=(1.0, 1.0), stretch=0.0, rotate=False, elastic=(0.0, 0.0)
    )
    before = load(records[0])
    image = before["img"]
    for _ in range(20):  # until neither flipped nor turned
        after = still(load(records[0]))
        if np.array_equal(after["img"], image):
            np.testing.assert_array_equal(
                after["gt_masks"].to_ndarray(), before["gt_masks"].to_ndarray()
            )
            return
    pytest.fail("the identity never came up")


def test_elastic_displacement_moves_masks_as_the_image(records):
    """The bright discs' pixels stay under their masks when nothing but the elastic field acts."""
    warp = RandomWarp(
        (128, 96), 1.0, scale=(1.0, 1.0), stretch=0.0, rotate=False, elastic=(3.0, 3.0)
    )
    agreement = []
    for seed in range(8):
        seed_everything(seed)
        sample = warp(load(records[0]))
        discs = sample["gt_masks"].to_ndarray()[sample["gt_labels"] == 0].any(axis=0)
        bright = sample["img"][..., 0] > 200
        agreement.append((discs & bright).sum() / (discs | bright).sum())
    assert min(agreement) > 0.85  # displaced the other way: below 0.6


def test_cells_of_which_little_is_left_are_dropped(records):
    """With a window of a quarter of the image, many cells are cut."""
    kept = {}
    for least in (0.0, 0.9):
        warp = RandomWarp((64, 48), 1.0, (1.0, 1.0), 0.0, False, (0.0, 0.0), min_visible=least)
        kept[least] = []
        for seed in range(20):
            seed_everything(seed)
            kept[least] += warp(load(records[0]))["gt_masks"].areas.tolist()
    whole = [crop for crop in load(records[0])["gt_masks"].areas]
    assert len(kept[0.9]) < len(kept[0.0])
    assert min(kept[0.0]) < 0.3 * min(whole)
    assert min(kept[0.9]) >= 0.85 * min(whole)


def test_crowd_regions_move_with_the_image(records):
    """A region that is drawn as a white square is found where its box went."""
    warp = RandomWarp((96, 96), 1.0, (0.8, 1.25), 0.1, False, (0.0, 0.0), fill=0)
    for seed in range(10):
        sample = load(records[0])
        sample["img"] = np.zeros_like(sample["img"])
        sample["img"][40:60, 50:80] = 255
        sample["gt_bboxes_ignore"] = np.array([[50, 40, 80, 60]], np.float32)
        seed_everything(seed)
        moved = warp(sample)
        rows, columns = np.nonzero(moved["img"][..., 0] > 127)
        if not len(rows):  # outside of the window
            continue
        drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(moved["gt_bboxes_ignore"][0], drawn, atol=2)


def test_intensity_changes_contrast_brightness_and_noise(records):
    image = np.full((64, 64, 3), 128, np.uint8)
    image[16:48, 16:48] = 168
    only = dict(contrast=(1.0, 1.0), brightness=0.0, blur=0.21, noise=0.0)

    def changed(**options) -> np.ndarray:
        seed_everything(4)
        return RandomIntensity(mean=128, std=10, **{**only, **options})({"img": image})["img"]

    np.testing.assert_allclose(changed(), image, atol=0.5)
    steps = [np.ptp(changed(contrast=(factor, factor))) for factor in (0.5, 2.0)]
    np.testing.assert_allclose(steps, [20, 80], atol=1)
    assert abs(changed(brightness=2.0)[0, 0, 0] - 128) > 1
    spread = []
    for seed in range(8):  # half of the images
        seed_everything(seed)
        noisy = RandomIntensity(mean=128, std=10, **{**only, "noise": 2.0})({"img": image})["img"]
        spread.append(noisy[:12].std())
    assert min(spread) < 0.1 and max(spread) > 3


def test_default_augmentation_works_on_crops(records):
    """mmdet's own steps (crop, flip, filter) with masks that are no full frames."""
    config = load_config(str(ROOT / "configs" / "mask_rcnn_resnest200.py"))
    config.inference.update(scale=2.0, pixel_mean=[128.0] * 3, pixel_std=[12.0] * 3)
    data = CellDataset(records, training_pipeline(config), seed=0)
    for position in range(6):
        sample = data[position % len(records), position]
        height, width = sample["img_metas"].data["img_shape"][:2]
        assert min(height, width) == pytest.approx(192, abs=1)  # 2 * 96, whatever the crop
        masks, boxes = sample["gt_masks"].data, sample["gt_bboxes"].data.numpy()
        assert (masks.height, masks.width) == tuple(sample["img"].data.shape[1:])
        assert len(masks) == len(boxes) == len(sample["gt_labels"].data) >= 3
        np.testing.assert_allclose(masks.get_bboxes(), boxes, atol=3)
        pixels = sample["img"].data.numpy()[0]
        for frame, label in zip(masks.to_ndarray(), sample["gt_labels"].data, strict=True):
            assert (np.median(pixels[frame > 0]) < 0) == (label == 1)  # boxes are dark


def test_intensity_keeps_grey_images_grey(records):
    seed_everything(0)
    image = RandomIntensity(mean=128, std=12)(load(records[0]))["img"]
    np.testing.assert_allclose(image[..., 0], image[..., 2], atol=1e-3)
    assert 0 <= image.min() < image.max() <= 255


def test_a_sample_depends_on_its_position_only(records):
    pipeline = [
        dict(type="LoadCellImage"),
        dict(type="LoadCellAnnotations"),
        dict(type="RandomWarp", size=(64, 64), network_scale=1.0),
    ]
    first = CellDataset(records, pipeline, seed=3)
    image = first[2, 7]["img"]
    first[0, 8]
    np.testing.assert_array_equal(first[2, 7]["img"], image)
    assert not np.array_equal(first[2, 8]["img"], image)
    assert not np.array_equal(CellDataset(records, pipeline, seed=4)[2, 7]["img"], image)


def take(sampler: EndlessSampler, count: int) -> list[tuple[int, int]]:
    stream = iter(sampler)
    return [next(stream) for _ in range(count)]


def test_every_pass_sees_every_image_once():
    indices = [index for index, _ in take(EndlessSampler(5, 2, 0, 0, 0, 1), 20)]
    for start in range(0, 20, 5):
        assert sorted(indices[start : start + 5]) == [0, 1, 2, 3, 4]
    assert indices[:5] != indices[5:10]


def test_stream_resumes_and_is_shared_among_processes():
    whole = take(EndlessSampler(7, 4, 1, 0, 0, 1), 40)
    assert take(EndlessSampler(7, 4, 1, 3, 0, 1), 28) == whole[12:]
    ranks = [take(EndlessSampler(7, 2, 1, 0, rank, 2), 20) for rank in (0, 1)]
    together = [sample for i in range(0, 20, 2) for rank in ranks for sample in rank[i : i + 2]]
    assert together == whole


def test_batches_are_those_of_the_stream(records):
    """From its start in one process, unless told otherwise; workers stay for the next ones."""
    pipeline = [dict(type="LoadCellImage"), dict(type="Collect", keys=["img"], meta_keys=[])]
    options = dict(batch_size=2, workers=0, seed=5)
    loader = build_loader(records, pipeline, **options)
    assert len(loader.dataset) == len(records)
    order = take(EndlessSampler(len(records), 2, 5, 0, 0, 1), 4)
    assert take(loader.sampler, 4) == order
    batch = next(iter(loader))["img"]
    expected = [loader.dataset[key]["img"] for key in order[:2]]
    np.testing.assert_array_equal(batch, expected)
    later = build_loader(records, pipeline, **options, start_iter=3, rank=1, world_size=2)
    expected = take(EndlessSampler(len(records), 2, 5, 3, 1, 2), 4)
    assert take(later.sampler, 4) == expected
    assert not loader.persistent_workers
    assert build_loader(records, pipeline, **options | {"workers": 1}).persistent_workers
