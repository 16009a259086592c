"""Random cell shapes and layouts, from generic shape statistics of three neuronal cell types."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cells.masks import Crop, tight_crop, window_of
from simulation.cell_types import QUANTILES, REFERENCE_PIXELS, CellType

MIN_AREA = 12  # pixels, of a whole cell and of what the image's border leaves of one
MAX_ATTEMPTS = 12  # places tried for a cell before it is left out


def random_layout(
    cell_type: CellType, image_size: tuple[int, int], rng: np.random.Generator
) -> list[Crop]:
    """Place random cells in clusters of similar orientation, with little overlap.

    Args:
        cell_type: shape statistics.
        image_size: (height, width) in pixels.

    Returns:
        At least one cell, each inside the image; those at the border are cut.
    """
    height, width = image_size
    drawn = np.interp(rng.random(), QUANTILES, cell_type.counts)
    count = max(1, round(drawn * height * width / REFERENCE_PIXELS))
    density = np.exp(cell_type.clustering * smooth_noise(image_size, rng.uniform(15, 60), rng))
    heading = 90 * smooth_noise(image_size, rng.uniform(30, 90), rng) + rng.uniform(0, 180)
    alignment = rng.uniform(10, 60)  # degrees of scatter about the local heading
    spots = rng.choice(density.size, (count, MAX_ATTEMPTS), p=_normalised(density))
    occupied = np.zeros(image_size, bool)
    cells: list[Crop] = []
    for places in spots:
        outline = random_shape(cell_type, rng)
        allowed = cell_type.overlap * rng.random()
        for place in places:
            y, x = divmod(int(place), width)
            angle = heading[y, x] + rng.normal(0, alignment)
            cell = _place(outline, angle, (x, y), image_size)
            if cell is None:
                continue
            window = occupied[window_of(*cell)]
            if window[cell.mask].mean() <= allowed:
                window |= cell.mask
                cells.append(cell)
                break
    return cells or [_fallback(image_size)]


def random_shape(cell_type: CellType, rng: np.random.Generator) -> list[np.ndarray]:
    """Outline of a cell: the polygons of its body and processes, which overlap.

    Returns:
        Polygons float64 [P, 2] (x, y) in pixels about the body's centre, major axis along x.
    """
    aspect = max(1.0, cell_type.aspect[0] * np.exp(rng.normal(0, cell_type.aspect[1])))
    body = _body(cell_type, rng) * (np.sqrt(aspect), 1 / np.sqrt(aspect))
    body[:, 1] += rng.normal(0, 0.07) * body[:, 0] ** 2  # bend
    polygons = [body]
    for _ in range(rng.choice(len(cell_type.processes), p=cell_type.processes)):
        length = cell_type.reach * np.sqrt(aspect) * rng.lognormal(0, 0.5)
        polygons.append(_process(body, length, rng))
    area = np.exp(np.interp(rng.random(), QUANTILES, np.log(cell_type.areas)))
    return _scale_to_area(polygons, area)


def smooth_noise(image_size: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with a correlation length of `sigma` pixels, float32 [height, width].

    Mean 0 and standard deviation 1 over large areas.
    """
    step = max(1.0, sigma / 3)  # drawn on a coarser grid where it is smooth
    coarse = [int(np.ceil(side / step)) + 2 for side in image_size]
    noise = rng.standard_normal(coarse, dtype=np.float32)
    blur = sigma / step
    noise = cv2.GaussianBlur(noise, (0, 0), blur) * (2 * blur * np.sqrt(np.pi))
    if step > 1:
        size = [round(side * step) for side in coarse]
        noise = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(noise[: image_size[0], : image_size[1]], np.float32)


def _body(cell_type: CellType, rng: np.random.Generator) -> np.ndarray:
    """Star-shaped outline of unit size with corners and ripples, float64 [P, 2]."""
    theta = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    corners = int(rng.choice((2, 3, 4), p=cell_type.corners))
    # An uneven angle puts the corners at uneven distances.
    uneven = theta + rng.normal(0, 0.15) * np.sin(theta + rng.uniform(0, 2 * np.pi))
    phase = 0.0 if corners == 2 else rng.uniform(0, 2 * np.pi)
    peaks = np.abs(np.cos(corners / 2 * uneven + phase)) ** rng.uniform(1, 4)
    concavity = cell_type.concavity * rng.uniform(0.2, 1.6)
    radius = 1 - concavity / 2 + concavity * peaks
    for harmonic in range(1, 16):
        amplitude = rng.normal(0, (0.03 + 0.12 * cell_type.concavity) / harmonic**0.7)
        radius += amplitude * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.3, None)
    return np.stack([radius * np.cos(theta), radius * np.sin(theta)], axis=1)


def _process(body: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """A bent arm that leaves the body near its tips and thins outwards, float64 [P, 2]."""
    distance = np.linalg.norm(body, axis=1)
    root = body[rng.choice(len(body), p=_normalised(distance**4))]
    heading = np.arctan2(root[1], root[0]) + rng.normal(0, 0.3)
    steps = 10
    headings = heading + np.cumsum(rng.normal(0, 0.10, steps))
    directions = np.stack([np.cos(headings), np.sin(headings)], axis=1)
    path = root * 0.6 + np.cumsum(directions, axis=0) * (length + 0.3) / steps
    half_widths = np.linspace(rng.uniform(0.25, 0.5), rng.uniform(0.05, 0.15), steps)
    normals = directions[:, ::-1] * (-1, 1) * half_widths[:, None]
    return np.concatenate([path + normals, (path - normals)[::-1]])


def _scale_to_area(polygons: Sequence[np.ndarray], area: float) -> list[np.ndarray]:
    """Scale polygons about the origin so that their union covers `area` pixels."""
    scale = 40 / max(np.abs(polygon).max() for polygon in polygons)
    mask, _ = _rasterise([polygon * scale for polygon in polygons])
    scale *= np.sqrt(area / mask.sum())
    return [polygon * scale for polygon in polygons]


def _rasterise(polygons: Sequence[np.ndarray]) -> Crop:
    """Union of polygons."""
    points = np.concatenate(polygons)
    left, top = np.floor(points.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + 2
    canvas = np.zeros((bottom - top, right - left), np.uint8)
    for polygon in polygons:
        # in quarters of a pixel
        fixed = np.round((polygon - (left, top)) * 4).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], 1, cv2.LINE_8, shift=2)
    return tight_crop(canvas.astype(bool), (left, top))


def _place(
    polygons: Sequence[np.ndarray],
    angle: float,
    centre: tuple[int, int],
    image_size: tuple[int, int],
) -> Crop | None:
    """Turn a shape by `angle` degrees and put it at `centre` (x, y).

    Returns:
        The part of it that lies in the image; None when that is too small.
    """
    turn = cv2.getRotationMatrix2D((0, 0), float(angle), 1)[:, :2]
    mask, (x, y) = _rasterise([polygon @ turn.T + centre for polygon in polygons])
    height, width = image_size
    inside = mask[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    if inside.sum() < max(MIN_AREA, 0.15 * mask.sum()):
        return None
    return tight_crop(inside, (max(x, 0), max(y, 0)))


def _fallback(image_size: tuple[int, int]) -> Crop:
    """A disc in the middle, for an image too small for any cell that was drawn."""
    height, width = image_size
    radius = max(2, min(height, width) // 6)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)) > 0
    return Crop(disc, (width // 2 - radius, height // 2 - radius))


def _normalised(weights: np.ndarray) -> np.ndarray:
    """Probabilities float64 [N] in proportion to non-negative weights of any shape."""
    weights = weights.astype(np.float64).ravel()
    return weights / weights.sum()
