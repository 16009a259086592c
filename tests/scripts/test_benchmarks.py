"""The baseline of the benchmarks does the same as the project, but slowly."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from helpers import ROOT, full_frames

from cells.images import read_image
from utils.stages import StageTimer

sys.path.insert(0, str(ROOT / "benchmarks"))
from baseline import InferenceDetector, TwoPasses, full_frame_nms, paste_frames
from benchmark_tiling import compare, write_large
from cases import BACKBONE_WAYS, backbone_gflop, operator_seconds
from measuring import in_own_process
from project import Project
from synthetic import jittered_cells, write_scene
from tables import markdown


def test_baseline_finds_the_same_instances(untrained, tmp_path: Path) -> None:
    scene = write_scene(tmp_path, (352, 260))
    cells = jittered_cells(scene, 150)
    weights = [str(untrained(seed=seed)) for seed in (0, 1)]
    image = read_image(scene.image)
    found, timer = {}, StageTimer()
    for method in (Project(weights, cells, "fp32"), TwoPasses(weights, cells)):
        found[type(method)] = method(image, timer)
    # masks of untrained networks hover about the threshold: rounding decides about a few of them
    assert abs(found[Project] - found[TwoPasses]) <= 3
    assert max(found.values()) < 150
    assert InferenceDetector(weights[0], cells)(image, timer) == 150
    assert {"prepare", "backbone", "RPN", "box head", "merge", "mask head"} <= timer.seconds.keys()


def test_full_frame_nms_keeps_the_better_of_two() -> None:
    boxes = np.array([[1, 1, 9, 9], [2, 1, 10, 9], [20, 20, 30, 30]], np.float32)
    frames = paste_frames(np.ones((3, 28, 28), np.float32), boxes, (40, 50))
    assert full_frame_nms(frames, np.array([0.5, 0.9, 0.7])) == [1, 2]


def test_backbone_arithmetic_grows_with_the_image(untrained) -> None:
    small, large = (backbone_gflop(str(untrained()), size) for size in ((128, 96), (256, 96)))
    assert large == pytest.approx(2 * small, rel=0.5)


def test_profile_of_the_backbone(untrained, tmp_path: Path) -> None:
    scene = write_scene(tmp_path, (128, 96))
    mmdet, _, project = (
        in_own_process(operator_seconds, str(untrained()), scene, way, 2) for way in BACKBONE_WAYS
    )
    assert "aten::native_batch_norm" in mmdet
    assert "aten::native_batch_norm" not in project  # folded into the convolutions
    assert all(way["aten::convolution"] > 0 for way in (mmdet, project))


def test_a_killed_process_is_no_result() -> None:
    import os

    assert in_own_process(os.abort) is None


def test_markdown_is_aligned() -> None:
    lines = markdown(("a", "long"), [("1", "2"), ("three", "4")]).splitlines()
    assert lines[-1] == "| three |    4 |" and len({len(line) for line in lines}) == 1


def test_a_large_image_is_made_of_fields(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fields = [rng.integers(0, 255, (60, 80), dtype=np.uint8) for _ in range(2)]
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, field in zip(paths, fields, strict=True):
        cv2.imwrite(str(path), field)
    large = tifffile.imread(write_large(paths, 300, tmp_path / "large.tif"))
    assert large.shape == (300, 300)
    np.testing.assert_array_equal(large[:60, :160], np.hstack(fields))
    np.testing.assert_array_equal(large[60:120, :80], fields[1])


def test_cells_of_a_field_are_looked_for_in_the_mosaic() -> None:
    alone = full_frames(np.zeros((3, 60, 160), np.float32), np.ones(3))
    places = np.s_[5:15, 5:15], np.s_[20:30, 70:80], np.s_[40:50, 40:50]
    for mask, place in zip(alone.masks, places, strict=True):
        mask[place] = 1
    found = replace(alone[[0, 1, 1]], boxes=np.tile(np.float32([0, 0, 160, 60]), (3, 1)))
    matches = list(compare(alone, found, (0, 60, 0, 80)))
    assert matches == [("away from seams", 1), ("at seams", 2), ("away from seams", 0)]
