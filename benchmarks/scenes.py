"""Simulated images whose cells are known, for conditions with a given number of instances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cells.instances import Boxes
from simulation.cell_types import CELL_TYPES
from simulation.render import render
from simulation.shapes import random_layout

CELL_TYPE = "shsy5y"  # the densest: about 300 cells in 704 x 520 pixels


@dataclass(frozen=True)
class Scene:
    """An image in a file, and the boxes of its cells, float32 [N, 4], x1 y1 x2 y2 in pixels."""

    image: Path
    boxes: np.ndarray


def write_scene(folder: Path, size: tuple[int, int]) -> Scene:
    """Draw an image of (width, height) pixels."""
    width, height = size
    rng = np.random.default_rng(67)
    cells = random_layout(CELL_TYPES[CELL_TYPE], (height, width), rng)
    path = folder / f"{width}x{height}.png"
    cv2.imwrite(str(path), render(cells, CELL_TYPE, (height, width), rng))
    corners = np.array([cell.offset for cell in cells])
    sides = np.array([cell.mask.shape[::-1] for cell in cells])
    return Scene(path, np.concatenate([corners, corners + sides], axis=1).astype(np.float32))


def jittered_cells(scene: Scene, count: int) -> Boxes:
    """`count` boxes about cells of a scene, no two alike, with random scores, highest first.

    Cells come once, or several times where there are fewer cells than boxes.
    """
    rng = np.random.default_rng(count)
    rounds = -(-count // len(scene.boxes))
    chosen = np.concatenate([rng.permutation(len(scene.boxes)) for _ in range(rounds)])[:count]
    boxes = scene.boxes[chosen]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + rng.normal(0, 0.04, boxes.shape) * sides
    scores = np.sort(rng.uniform(0.3, 1, count))[::-1]
    return Boxes(boxes.astype(np.float32), scores.astype(np.float32), np.zeros(count, np.int64))
