"""Random cell shapes and layouts, from generic shape statistics of three neuronal cell types."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Cell:
    """One cell of a layout.

    Attributes:
        mask: bool [h, w], tight crop.
        offset: x, y of the crop's top left pixel in the image.
    """

    mask: np.ndarray
    offset: tuple[int, int]


@dataclass(frozen=True)
class CellType:
    """Shape statistics of a cell type.

    Attributes:
        name: of the type.
        count: median number of cells in 704 x 520 pixels, and sigma of its logarithm.
        area: median area in pixels, and sigma of its logarithm.
        aspect: median ratio of major to minor axis.
        roughness: relative amplitude of the outline's irregularity.
        processes: largest number of tapering arms.
        clustering: probability that a cell lies beside another one.
        overlap: largest share of a cell that may lie under others.
    """

    name: str
    count: tuple[float, float]
    area: tuple[float, float]
    aspect: float
    roughness: float
    processes: int
    clustering: float
    overlap: float


# Medians and spreads of 116 annotated images of the Sartorius data.
CELL_TYPES = (
    CellType("shsy5y", (300, 0.45), (196, 0.55), 1.9, 0.12, 1, 0.75, 0.06),
    CellType("astro", (62, 0.55), (557, 0.8), 2.9, 0.22, 4, 0.5, 0.06),
    CellType("cort", (30, 0.45), (203, 0.45), 1.25, 0.06, 0, 0.35, 0.04),
)
REFERENCE_PIXELS = 704 * 520
MAX_ATTEMPTS = 6  # places tried for a cell before it is left out


def random_layout(
    cell_type: CellType, image_size: tuple[int, int], rng: np.random.Generator
) -> list[Cell]:
    """Place random cells, in clusters of similar orientation, with little overlap.

    Args:
        cell_type: shape statistics.
        image_size: (height, width) in pixels.
    """
    height, width = image_size
    median, sigma = cell_type.count
    expected = median * height * width / REFERENCE_PIXELS
    count = max(1, round(expected * np.exp(rng.normal(0, sigma))))
    occupied = np.zeros(image_size, np.uint8)
    cells: list[Cell] = []
    angles: list[float] = []
    for _ in range(count):
        for _ in range(MAX_ATTEMPTS):
            centre, angle = rng.uniform((0, 0), (width, height)), rng.uniform(0, 180)
            if cells and rng.random() < cell_type.clustering:
                neighbour = int(rng.integers(len(cells)))
                centre, angle = _beside(cells[neighbour], rng), angles[neighbour] + rng.normal(0, 25)
            cell = _cut_to_image(random_shape(cell_type, angle, rng), centre, image_size)
            if cell is None:
                continue
            window = occupied[_window(cell)]
            if window[cell.mask].mean() <= cell_type.overlap:
                window[cell.mask] = 1
                cells.append(cell)
                angles.append(angle)
                break
    return cells


def random_shape(cell_type: CellType, angle: float, rng: np.random.Generator) -> np.ndarray:
    """One cell body with its processes, bool [h, w].

    A bent ellipse whose radius is perturbed by a few random harmonics, plus tapering arms.

    Args:
        angle: of the major axis in degrees.
    """
    median, sigma = cell_type.area
    area = max(12.0, median * np.exp(rng.normal(0, sigma)))
    aspect = 1 + (cell_type.aspect - 1) * np.exp(rng.normal(0, 0.5))
    theta = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones_like(theta)
    for harmonic in range(2, 8):
        amplitude = rng.normal(0, cell_type.roughness / harmonic * 2)
        radius += amplitude * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.35, None)
    unit = np.sqrt(area / np.pi)
    x = unit * np.sqrt(aspect) * radius * np.cos(theta)
    y = unit / np.sqrt(aspect) * radius * np.sin(theta)
    y += rng.normal(0, 0.12) * x**2 / max(np.abs(x).max(), 1)  # bend
    turn = cv2.getRotationMatrix2D((0, 0), angle, 1)[:, :2]
    outline = np.stack([x, y], axis=1) @ turn.T
    reach = int(np.abs(outline).max() * (2.2 if cell_type.processes else 1)) + 3
    canvas = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    cv2.fillPoly(canvas, [np.round(outline + reach).astype(np.int32)], 1)
    for _ in range(rng.integers(cell_type.processes + 1)):
        _draw_process(canvas, outline[rng.integers(len(outline))], unit, rng)
    return _tight(canvas.astype(bool))[0]


def _draw_process(
    canvas: np.ndarray, tip: np.ndarray, unit: float, rng: np.random.Generator
) -> None:
    """A bent arm from the centre through `tip`, thinning outwards."""
    reach = canvas.shape[0] // 2
    end = tip * rng.uniform(1.2, 1.9)
    control = (tip + end) / 2 + rng.normal(0, 0.3 * unit, 2)
    t = np.linspace(0, 1, 12)[:, None]
    curve = np.clip((1 - t) ** 2 * 0 + 2 * t * (1 - t) * control + t**2 * end, -reach, reach) + reach
    widths = np.linspace(0.45 * unit, 1, len(curve))
    for start, stop, width in zip(curve, curve[1:], widths, strict=False):
        points = [tuple(int(v) for v in np.round(point)) for point in (start, stop)]
        cv2.line(canvas, *points, 1, max(1, round(float(width))))


def _tight(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut away empty margins; returns the crop and the x, y of its corner."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return mask[top : rows[-1] + 1, left : columns[-1] + 1], (left, top)


def _cut_to_image(
    mask: np.ndarray, centre: np.ndarray, image_size: tuple[int, int]
) -> Cell | None:
    """Centre a shape somewhere; None when too little of it lies in the image."""
    height, width = image_size
    x, y = (int(v) for v in np.round(centre - np.array(mask.shape[::-1]) / 2))
    inside = mask[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    if inside.sum() < max(8, 0.15 * mask.sum()):
        return None
    crop, (left, top) = _tight(inside)
    return Cell(crop, (max(x, 0) + left, max(y, 0) + top))


def _beside(cell: Cell, rng: np.random.Generator) -> np.ndarray:
    """A point about one cell's size away from a cell's centre."""
    size = np.array(cell.mask.shape[::-1])
    direction = rng.normal(size=2)
    direction /= np.linalg.norm(direction) + 1e-9
    return np.array(cell.offset) + size / 2 + direction * size * rng.uniform(0.7, 1.5)


def _window(cell: Cell) -> tuple[slice, slice]:
    x, y = cell.offset
    height, width = cell.mask.shape
    return slice(y, y + height), slice(x, x + width)
