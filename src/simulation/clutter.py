"""What lies around the cells of a simulated image and is not annotated: neurites, dead cells, dirt.

Maps of optical thickness in grey levels, as in `simulation.render`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cells.masks import Crop
from simulation.cell_types import REFERENCE_PIXELS, Appearance
from simulation.shapes import smooth_noise

LINE_UNIT = 4  # levels of an 8-bit line drawing for one of optical thickness
SHIFT = 3  # line drawings are in eighths of a pixel


def draw_neurites(
    cells: Sequence[Crop],
    look: Appearance,
    contrast: float,
    image_size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Thin winding fibres that no annotation counts as cells, float32 [height, width]."""
    height, width = image_size
    canvas = np.zeros(image_size, np.uint8)
    strength = np.clip(contrast * rng.uniform(0.3, 1.0), 8, 63)  # optical thickness
    ray_share = rng.random()
    for cell in cells:
        if rng.random() < look.tails:
            _draw_tails(canvas, cell, strength, look.beads, rng)
        if rng.random() < 0.7:
            for _ in range(round(look.rays * ray_share * rng.random() ** 2)):
                heading = rng.uniform(0, 2 * np.pi)
                path = _walk(_middle(cell), heading, rng.uniform(15, 70), 0.08, rng)
                _draw_path(canvas, path, strength * rng.uniform(0.3, 1), 1, 0.0, rng)
    share = height * width / REFERENCE_PIXELS
    bend = rng.uniform(0.01, 0.10)
    for _ in range(rng.poisson(share * rng.uniform(*look.fibres))):
        start = rng.uniform((0, 0), (width, height))
        if cells and rng.random() < 0.4:
            start = _middle(cells[rng.integers(len(cells))])
        path = _walk(start, rng.uniform(0, 2 * np.pi), rng.uniform(40, 300), bend, rng)
        thick = 1 if rng.random() < 0.96 else 2
        _draw_path(canvas, path, strength * rng.uniform(0.2, 0.9), thick, look.beads, rng)
    fibres = canvas.astype(np.float32) / LINE_UNIT
    return fibres * np.clip(1 + 0.5 * smooth_noise(image_size, 3, rng), 0.1, 2)


def _draw_tails(
    canvas: np.ndarray, cell: Crop, strength: float, beads: float, rng: np.random.Generator
) -> None:
    """Neurites from the ends of a cell, along its axis."""
    rows, columns = np.nonzero(cell.mask)
    points = np.stack([columns, rows], axis=1) + np.array(cell.offset)
    middle = points.mean(axis=0)
    away = points - middle
    axis = np.linalg.eigh(away.T @ away)[1][:, 1]
    along = away @ axis
    for tip in (points[along.argmin()], points[along.argmax()])[: rng.integers(1, 3)]:
        outwards = tip - middle
        heading = np.arctan2(outwards[1], outwards[0])
        for _ in range(1 + (rng.random() < 0.25)):  # some fork
            turned = heading + rng.normal(0, 0.25)
            path = _walk(tip - 0.15 * outwards, turned, rng.uniform(8, 60), 0.08, rng)
            _draw_cone(canvas, path[:8], strength * rng.uniform(0.7, 1.5), rng.uniform(0.7, 1.8))
            _draw_path(canvas, path, strength * rng.uniform(0.4, 1), 1, beads, rng)


def _draw_cone(canvas: np.ndarray, path: np.ndarray, strength: float, half_width: float) -> None:
    """Draw a neurite that thins from `half_width` pixels to nothing on a uint8 canvas."""
    along = np.gradient(path, axis=0)
    normals = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True)
    normals *= np.linspace(half_width, 0, len(path))[:, None]
    outline = np.concatenate([path + normals, (path - normals)[::-1]])
    fixed = np.round(outline * 2**SHIFT).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], _level(strength), cv2.LINE_AA, SHIFT)


def _level(strength: float) -> int:
    """Grey level of a line drawing for an optical thickness."""
    return int(np.clip(strength * LINE_UNIT, 2, 255))


def _middle(cell: Crop) -> np.ndarray:
    """x, y of the middle of a cell's box, float64 [2]."""
    return np.array(cell.offset) + np.array(cell.mask.shape[::-1]) / 2


def _walk(
    start: np.ndarray, heading: float, length: float, bend: float, rng: np.random.Generator
) -> np.ndarray:
    """A winding path of 4 px steps, float64 [P, 2] (x, y); `bend` is in radians per step."""
    steps = max(2, round(length / 4))
    # The curvature itself drifts, which gives arcs rather than a tremble.
    turns = cv2.GaussianBlur(rng.normal(0, 2 * bend, (1, steps)), (0, 0), 2)[0]
    headings = heading + np.cumsum(turns)
    strides = 4 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return start + np.cumsum(strides, axis=0)


def _draw_path(
    canvas: np.ndarray,
    path: np.ndarray,
    strength: float,
    thick: int,
    beads: float,
    rng: np.random.Generator,
) -> None:
    """Draw a neurite of optical thickness `strength` on a uint8 canvas, beaded or not."""
    points = np.round(path * 2**SHIFT).astype(np.int32)
    value = _level(strength)
    if rng.random() < beads:
        for x, y in points[rng.random(len(points)) < rng.uniform(0.1, 0.7)].tolist():
            radius = int(rng.integers(4, 12))
            bead = min(255, int(value * rng.uniform(1, 2.5)))
            cv2.circle(canvas, (x, y), radius, bead, -1, cv2.LINE_AA, SHIFT)
        value = max(2, value // 2)
    cv2.polylines(canvas, [points], False, value, thick, cv2.LINE_AA, SHIFT)


def add_vesicles(
    thickness: np.ndarray, cells: Sequence[Crop], heaps: int, rng: np.random.Generator
) -> None:
    """Heaps of bright bubbles with dark rings, on cells and beside them: dead cells, blebs."""
    height, width = thickness.shape
    for _ in range(heaps):
        centre = rng.uniform((0, 0), (width, height))
        if cells and rng.random() < 0.6:
            centre = _middle(cells[rng.integers(len(cells))]) + rng.normal(0, 4, 2)
        count = int(rng.geometric(0.3))
        ring = rng.uniform(40, 220)
        for position in centre + rng.normal(0, 1.6 * np.sqrt(count), (count, 2)):
            radius = rng.uniform(1.5, 4.5)
            core = -ring * rng.uniform(0.2, 2.0)
            _add_bubble(thickness, position, radius, ring, core, rng)


def add_debris(thickness: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Single dark discs, some with a bright spot, alone or in pairs."""
    height, width = thickness.shape
    for _ in range(count):
        position = rng.uniform((0, 0), (width, height))
        ring = rng.uniform(120, 500)
        core = -ring * rng.uniform(0.2, 1.5) if rng.random() < 0.35 else 0.0
        radius = rng.uniform(0.7, 3.4)
        _add_bubble(thickness, position, radius, ring, core, rng)
        if rng.random() < 0.15:
            beside = position + rng.normal(0, radius, 2)
            _add_bubble(thickness, beside, radius * rng.uniform(0.5, 1), ring, core, rng)


def _add_bubble(
    thickness: np.ndarray,
    position: np.ndarray,
    radius: float,
    ring: float,
    core: float,
    rng: np.random.Generator,
) -> None:
    """Add a disc of thickness `ring` with a smaller spot of `core` off its centre, in a crop."""
    height, width = thickness.shape
    reach = int(np.ceil(radius)) + 2
    x, y = (int(v) for v in np.round(position))
    top, bottom, left, right = y - reach, y + reach + 1, x - reach, x + reach + 1
    rows = np.arange(max(top, 0), min(bottom, height))[:, None] - position[1]
    columns = np.arange(max(left, 0), min(right, width)) - position[0]
    if not (rows.size and columns.size):
        return
    window = thickness[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    window += ring * np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    aside = rng.normal(0, 0.25 * radius, 2)
    inner = np.hypot(rows - aside[0], columns - aside[1])
    window += core * np.clip(0.6 * radius + 0.5 - inner, 0, 1)


def draw_dust(image_size: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Faint specks of a pixel or two, dark or bright, float32 [height, width]."""
    dust = np.zeros(image_size, np.float32)
    rows, columns = (rng.integers(0, side, count) for side in image_size)
    dust[rows, columns] = rng.choice((-0.3, 1.0), count) * rng.uniform(30, 350, count)
    return cv2.GaussianBlur(dust, (0, 0), rng.uniform(0.6, 0.9))
