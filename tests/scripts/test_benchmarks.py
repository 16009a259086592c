"""The baseline of the benchmarks does the same as the project, but slowly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from cells.images import read_image
from utils.stages import StageTimer

sys.path.insert(0, str(ROOT / "benchmarks"))
from baseline import InferenceDetector, TwoPasses, full_frame_nms, paste_frames
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
    assert found[Project] == found[TwoPasses] < 150
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
