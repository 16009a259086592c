"""Paths, synthetic data and checks that the tests share."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from cells.instances import Instances

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "tests" / "configs"
DATA = ROOT / "tests" / "data"
CLASS_NAMES = ("disc", "box", "bar")

# for tests of what runs on GPUs, too
on_each_device = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(
                "not __import__('torch').cuda.is_available()", reason="no GPU"
            ),
        ),
    ],
)


def assert_one_line_error(done: subprocess.CompletedProcess, *parts: str) -> None:
    """Exit code 2 and a last line on stderr that holds all `parts`, without a traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def full_frames(masks: np.ndarray, scores: np.ndarray) -> Instances:
    """Instances whose crops are whole frames, from probabilities [N, height, width]."""
    count = len(masks)
    return Instances(
        masks.shape[1:],
        np.zeros((count, 4), np.float32),
        np.asarray(scores, np.float32),
        np.zeros(count, np.int64),
        list(masks),
        np.zeros((count, 2), np.int64),
    )


def squares(*corners: tuple[int, int], scores: list[float], size: int = 4) -> Instances:
    """Instances of size x size pixels at the given x, y in an image of 12 x 10 pixels."""
    offsets = np.array(corners).reshape(-1, 2)
    return Instances(
        image_size=(10, 12),
        boxes=np.hstack([offsets, offsets + size]).astype(np.float32),
        scores=np.array(scores, np.float32),
        labels=np.zeros(len(scores), np.int64),
        masks=[np.ones((size, size), np.float32)] * len(scores),
        offsets=offsets,
    )


def write_shapes(folder: Path, n_train: int, n_valid: int, seed: int = 0) -> Path:
    """Images with bright discs, dark boxes and bars on grey, with COCO annotations."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for split, count in (("train", n_train), ("valid", n_valid)):
        images, annotations = [], []
        for index in range(count):
            image_id = f"{split}{index}"
            image = rng.normal(128, 2, (96, 128)).clip(0, 255).astype(np.uint8)
            for cell in range(6):
                x, y = 20 + 44 * (cell % 3) + rng.integers(-6, 7), 26 + 44 * (cell // 3)
                polygon = shape_polygon(cell % 3, x, y, 9 + rng.integers(0, 4))
                cv2.fillPoly(image, [polygon], (220, 40, 180)[cell % 3])
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": 10 * (cell % 3 + 1),
                        "segmentation": [polygon.ravel().tolist()],
                        "iscrowd": 0,
                    }
                )
            cv2.imwrite(str(folder / "images" / f"{image_id}.png"), image)
            row = {"id": image_id, "file_name": f"{image_id}.png", "width": 128, "height": 96}
            images.append(row)
        categories = [{"id": 10 * (i + 1), "name": name} for i, name in enumerate(CLASS_NAMES)]
        coco = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"annotations_{split}_0.json").write_text(json.dumps(coco))
    return folder


def shape_polygon(kind: int, x: int, y: int, radius: int) -> np.ndarray:
    """Outline of a disc, a square or a bar, int [N, 2]."""
    if kind == 0:
        return cv2.ellipse2Poly((int(x), int(y)), (int(radius), int(radius)), 0, 0, 360, 20)
    half = (radius, radius) if kind == 1 else (radius // 3, radius + 4)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return np.array([(x + a * half[0], y + b * half[1]) for a, b in corners], np.int32)
