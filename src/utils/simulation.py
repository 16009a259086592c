"""Rendering cell layouts as phase-contrast images.

A phase-contrast microscope shows, to a good approximation, the optical thickness of the sample minus
a blurred copy of it: bodies come out dark with a bright halo. So a map of optical thickness is drawn
(cells, neurites, debris, texture), and one difference of Gaussians makes the image. Contrast, halo,
blur, texture and noise vary widely from image to image, so that networks learn shapes rather than
grey values.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from utils.cell_shapes import Cell

MEAN = 128.0  # grey value of the background, as in the Sartorius images
GREY_STD = (6.5, 15.0)  # range of the standard deviation of an image's grey values


def render(
    cells: Sequence[Cell], cell_type: str, image_size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw an image of the cells.

    Args:
        cells: layout; crops inside the image.
        cell_type: shsy5y, astro or cort, which decides on contrast and on what else lies around.
        image_size: (height, width) in pixels.

    Returns:
        uint8 [height, width].
    """
    thickness = _background(image_size, rng)
    gain = {"shsy5y": (0.8, 2.0), "astro": (0.35, 1.4), "cort": (0.8, 2.0)}[cell_type]
    contrast = rng.uniform(*gain)
    for cell in cells:
        _add_cell(thickness, cell, cell_type, contrast, rng)
    density = {"shsy5y": 0.25, "astro": 0.25, "cort": 1.0}[cell_type]
    thickness += _neurites(cells, image_size, density, rng)
    thickness += _debris(image_size, rng)
    halo = rng.uniform(2.5, 7.0)
    blurred = cv2.GaussianBlur(thickness, (0, 0), halo)
    image = rng.uniform(0.75, 1.0) * blurred - thickness
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))
    return _to_grey(image, rng)


def _background(image_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Texture of the substrate: slow waves and fine grain, float32 [height, width]."""
    slow = _smooth_noise(image_size, rng.uniform(15, 50), rng)
    grain = _smooth_noise(image_size, rng.uniform(0.8, 2.0), rng)
    return rng.uniform(0, 0.4) * slow + rng.uniform(0.02, 0.16) * grain


def _smooth_noise(
    image_size: tuple[int, int], sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Gaussian noise with a correlation length of `sigma` pixels and unit standard deviation."""
    step = max(1.0, sigma / 2)  # drawn on a coarser grid where it is smooth
    coarse = [max(2, int(np.ceil(side / step))) for side in image_size]
    noise = cv2.GaussianBlur(rng.normal(size=coarse).astype(np.float32), (0, 0), sigma / step)
    noise /= noise.std() + 1e-6
    return cv2.resize(noise, image_size[::-1], interpolation=cv2.INTER_CUBIC)


def _add_cell(
    thickness: np.ndarray,
    cell: Cell,
    cell_type: str,
    contrast: float,
    rng: np.random.Generator,
) -> None:
    """Add the optical thickness of one cell to the map, inside its crop only."""
    depth = cv2.distanceTransform(np.pad(cell.mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rim = rng.uniform(1.5, 4.0)  # pixels from the edge to full thickness
    dome = np.minimum(depth / rim, 1.0) ** rng.uniform(0.4, 1.2)
    relative = depth / max(depth.max(), 1e-6)
    texture = _smooth_noise(cell.mask.shape, rng.uniform(0.8, 2.0), rng)
    gain = contrast * rng.lognormal(0, 0.35)
    roughness = rng.uniform(0.1, 0.5)
    body = gain * dome * (1 + roughness * texture)
    kind = rng.random()
    if cell_type == "cort" and kind < 0.45:  # rounded and bright inside a dark ring
        body -= gain * rng.uniform(1.5, 3.0) * np.clip(relative * 1.4 - 0.5, 0, 1)
    elif kind < 0.12:  # dead and granular
        body += gain * 1.5 * np.maximum(texture, 0) * dome
    elif cell_type == "astro":  # flat: little more than texture and an edge
        body *= 0.35 + 0.65 * (relative < 0.25)
    x, y = cell.offset
    window = thickness[y : y + body.shape[0], x : x + body.shape[1]]
    window += np.where(cell.mask, body, 0).astype(np.float32)


def _neurites(
    cells: Sequence[Cell],
    image_size: tuple[int, int],
    density: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Thin winding fibres that no annotation counts as cells, float32 [height, width]."""
    height, width = image_size
    canvas = np.zeros(image_size, np.float32)
    count = rng.poisson(density * rng.uniform(10, 160) * height * width / (704 * 520))
    for _ in range(count):
        start = rng.uniform((0, 0), (width, height))
        if cells and rng.random() < 0.6:
            cell = cells[rng.integers(len(cells))]
            start = np.array(cell.offset) + np.array(cell.mask.shape[::-1]) / 2
        steps = int(rng.integers(8, 40))
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.03, 0.25), steps))
        path = start + np.cumsum(6 * np.stack([np.cos(heading), np.sin(heading)], 1), axis=0)
        points = np.round(path * 8).astype(np.int32)  # in eighths of a pixel
        value = float(rng.uniform(0.15, 0.9))
        thick = 1 if rng.random() < 0.85 else 2
        cv2.polylines(canvas, [points], False, value, thick, cv2.LINE_8, shift=3)
    return cv2.GaussianBlur(canvas, (0, 0), 0.7)


def _debris(image_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Specks, alone and in heaps, dark or bright, that are no cells, float32 [height, width]."""
    height, width = image_size
    canvas = np.zeros(image_size, np.float32)
    heaps = rng.poisson(rng.uniform(2, 40) * height * width / (704 * 520))
    for _ in range(heaps):
        centre = rng.uniform((0, 0), (width, height))
        for _ in range(int(rng.geometric(0.3))):
            x, y = np.round(centre + rng.normal(0, 4, 2)).astype(int)
            value = float(rng.choice([-1.0, 1.0], p=[0.3, 0.7]) * rng.uniform(0.5, 2.5))
            cv2.circle(canvas, (int(x), int(y)), int(rng.integers(1, 4)), value, -1)
    return cv2.GaussianBlur(canvas, (0, 0), 0.8)


def _to_grey(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale to a random contrast about the background's grey value and add sensor noise."""
    image = image - image.mean()
    image *= rng.uniform(*GREY_STD) / (image.std() + 1e-6)
    image += rng.normal(0, rng.uniform(0.5, 2.5), image.shape)
    return np.clip(np.round(image + MEAN), 0, 255).astype(np.uint8)
