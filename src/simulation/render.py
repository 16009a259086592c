"""Rendering cell layouts as phase-contrast images.

A phase-contrast microscope shows, to a good approximation, the optical thickness of the sample
minus a blurred copy of it: bodies come out dark inside a bright halo. So a map of optical thickness
is drawn (cells, neurites, vesicles, debris, texture), and one difference of Gaussians makes the
image. Contrast, halo, blur, texture and noise vary widely from image to image, so that networks
learn shapes rather than grey values.

Optical thickness is in grey levels: a wide structure of thickness 20 has an edge of 20 levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cells.masks import Crop, window_of
from simulation.cell_types import APPEARANCES, REFERENCE_PIXELS, Appearance
from simulation.clutter import add_debris, add_vesicles, draw_dust, draw_neurites
from simulation.shapes import smooth_noise

MEAN = 128.0  # grey value of an image's mean: the background is removed


def render(
    cells: Sequence[Crop], cell_type: str, image_size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw an image of the cells.

    Args:
        cells: layout, crops inside the image; none gives an image of background and debris.
        cell_type: key of `APPEARANCES`, which decides on contrast and on what else lies around.
        image_size: (height, width) in pixels.

    Returns:
        uint8 [height, width].
    """
    look = APPEARANCES[cell_type]
    share = image_size[0] * image_size[1] / REFERENCE_PIXELS
    contrast = _log_uniform(look.contrast, rng)
    thickness = _background(image_size, rng)
    thickness += draw_neurites(cells, look, contrast, image_size, rng)
    margin = rng.uniform(-0.5, 2.5)  # annotators draw outside the halo or along the body
    for cell in cells:
        _add_cell(thickness, cell, look, contrast, margin, rng)
    add_vesicles(thickness, cells, rng.poisson(share * _log_uniform(look.vesicles, rng)), rng)
    add_debris(thickness, rng.poisson(share * rng.uniform(*look.debris)), rng)
    thickness += draw_dust(image_size, rng.poisson(share * rng.uniform(*look.dust)), rng)
    return _to_grey(_phase_contrast(thickness, rng), rng)


def _background(image_size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Texture of the substrate: slow waves, fine grain and stripes, float32 [height, width]."""
    texture = rng.uniform(0, 3) * smooth_noise(image_size, rng.uniform(10, 50), rng)
    if rng.random() < 0.3:  # looks like a faint cell, except that it has no outline
        texture += rng.uniform(0, 6) * smooth_noise(image_size, rng.uniform(0.8, 2.5), rng)
    if rng.random() < 0.3:  # scratches or a grating
        height, width = image_size
        angle = rng.normal(0, 0.4)
        y, x = np.ogrid[:height, :width]
        phase = (y * np.cos(angle) + x * np.sin(angle)) * (2 * np.pi / rng.uniform(3, 9))
        bent = phase + 2 * smooth_noise(image_size, 40, rng)
        texture += rng.uniform(0, 1.2) * np.sin(bent, dtype=np.float32)
    return texture.astype(np.float32)


def _add_cell(
    thickness: np.ndarray,
    cell: Crop,
    look: Appearance,
    contrast: float,
    margin: float,
    rng: np.random.Generator,
) -> None:
    """Add the optical thickness of one cell to the map, inside its crop only.

    Args:
        margin: pixels between the mask's edge and the body's; thin parts have less of it.
    """
    solid = np.pad(cell.mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 5)[1:-1, 1:-1]
    depth = cv2.GaussianBlur(depth, (0, 0), 0.9)  # rounds off the pixels' corners
    deepest = float(depth.max())
    depth = np.clip(depth - min(margin, 0.4 * deepest), 0, None)
    relative = depth / max(float(depth.max()), 1e-6)
    rim = min(rng.uniform(*look.rim), deepest)
    dome = np.clip(depth / rim, 0, 1)
    size = cell.mask.shape
    spread = np.clip((200 / cell.mask.sum()) ** 0.25, 0.4, 1.4)  # large cells are thin
    gain = contrast * spread * rng.lognormal(0, 0.35)
    if rng.random() < look.flat:
        gain *= rng.uniform(0.15, 0.5)
        body = gain * dome * (1 + 0.8 * np.exp(-(((depth - rim) / 1.2) ** 2)))
    else:
        body = gain * dome * (1 + rng.uniform(0, 0.8) * relative)
    if rng.random() < 0.3:  # dark or bright inside rather than even
        body += gain * rng.uniform(-1.5, 1.0) * np.clip(relative - 0.3, 0, None)
    body += gain * _granules(size, rng.uniform(*look.granules), rng) * dome
    if rng.random() < look.nuclei:
        body += gain * _nucleus(cell, relative, rng)
    if rng.random() < look.striae:
        body += gain * rng.uniform(0.05, 0.35) * _striae(cell.mask, rng) * dome
    thickness[window_of(*cell)] += np.where(cell.mask, body, 0).astype(np.float32)


def _granules(size: tuple[int, int], amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Grain that is dense in some parts of a cell and rare in others, float32 [h, w]."""
    grain = smooth_noise(size, rng.uniform(0.5, 1.3), rng)
    patches = np.clip(smooth_noise(size, rng.uniform(3, 8), rng) + rng.uniform(0, 2), 0, 2)
    grain *= patches
    if rng.random() < 0.3:  # single dark or bright grains
        grain = rng.choice((-1.0, 1.0)) * np.clip(np.abs(grain) - 1, 0, None) * 1.5
    return amplitude * grain


def _striae(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fibres along a cell's major axis as noise of unit standard deviation, float32 [h, w]."""
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    angle = np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"]) / 2
    height, width = mask.shape
    side = int(np.ceil(np.hypot(height, width))) + 2
    noise = rng.standard_normal((side, side), dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=rng.uniform(3, 10), sigmaY=rng.uniform(0.5, 1))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), -float(np.degrees(angle)), 1)
    turn[:, 2] += (np.array((width, height)) - side) / 2
    striae = cv2.warpAffine(noise, turn, (width, height))
    return striae / (noise.std() + 1e-6)


def _nucleus(cell: Crop, relative: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A disc with an outline and nucleoli at the thickest place, relative to the body's thickness.

    Args:
        relative: float [h, w], depth in the cell, 1 at the thickest place.
    """
    height, width = relative.shape
    y, x = divmod(int(relative.argmax()), width)
    radius = rng.uniform(0.22, 0.42) * np.sqrt(cell.mask.sum())
    radius = min(radius, rng.uniform(4, 9))
    rows, columns = np.ogrid[:height, :width]
    stretch = rng.uniform(0.7, 1.4)
    distance = np.sqrt(((rows - y) * stretch) ** 2 + ((columns - x) / stretch) ** 2)
    outline = np.exp(-((distance - radius) ** 2) / 1.5)
    nucleus = rng.uniform(0.1, 0.7) * outline + rng.uniform(-0.8, 0.2) * (distance < radius)
    for _ in range(rng.integers(4)):
        row, column = (y, x) + rng.normal(0, 0.4 * radius, 2)
        spot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2)
        nucleus = nucleus + rng.uniform(0.3, 1.2) * spot
    return nucleus * (relative > 0)


def _phase_contrast(thickness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The microscope: a saturating difference of Gaussians, now and then of reversed contrast."""
    halo = _log_uniform((1.0, 2.0), rng)
    balance = rng.uniform(0.94, 1.0)  # 1: wide structures show their edges only
    focus = rng.uniform(0.2, 0.5) if rng.random() < 0.85 else rng.uniform(0.5, 1.1)
    image = balance * cv2.GaussianBlur(thickness, (0, 0), halo)
    image -= cv2.GaussianBlur(thickness, (0, 0), focus)
    saturation = rng.uniform(60, 120)  # grey levels
    image = saturation * np.tanh(image / saturation)
    return -image if rng.random() < 0.04 else image


def _to_grey(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add sensor noise and centre on the mean, uint8 [height, width]."""
    noise = rng.uniform(0.5, 2.5) * smooth_noise(image.shape, rng.uniform(0.3, 0.7), rng)
    image = image - image.mean() + noise
    return np.clip(np.round(image + MEAN), 0, 255).astype(np.uint8)


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Log-uniform draw between two limits >= 0 (from 1 up where the lower one is smaller)."""
    low, high = (max(1.0, limit) for limit in limits)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
