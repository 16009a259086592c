"""Augmentation and the stream of training samples."""

from __future__ import annotations

import numpy as np
import pytest

from cells.annotations import load_annotations
from training.dataset import CellDataset, EndlessSampler
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
