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
from dataclasses import dataclass

import cv2
import numpy as np

from utils.simulation_shapes import REFERENCE_PIXELS, Cell, smooth_noise, window_of

MEAN = 128.0  # grey value of an image's mean: the background is removed
LINE_UNIT = 4  # levels of an 8-bit line drawing for one of optical thickness
SHIFT = 3  # line drawings are in eighths of a pixel


@dataclass(frozen=True)
class Scene:
    """What images of a cell type hold; pairs are ranges, from which each image draws.

    Attributes:
        contrast: optical thickness of bodies.
        granules: thickness of the granular texture in bodies, relative to the body's.
        flat: probability of a thin, flat cell that shows little more than texture and its edge.
        rim: pixels from a body's edge to its full thickness.
        nuclei: probability that a body shows its nucleus.
        tails: probability that an unlabelled neurite prolongs a cell.
        rays: most thin neurites around one cell.
        fibres: neurites crossing the image, per 704 x 520 pixels.
        beads: probability that a neurite is beaded.
        vesicles: heaps of small bubbles (dead cells), per 704 x 520 pixels.
        debris: dark discs with a sharp halo, per 704 x 520 pixels.
        dust: faint specks, per 704 x 520 pixels.
    """

    contrast: tuple[float, float]
    granules: tuple[float, float]
    flat: float
    rim: tuple[float, float]
    nuclei: float
    tails: float
    rays: int
    fibres: tuple[float, float]
    beads: float
    vesicles: tuple[float, float]
    debris: tuple[float, float]
    dust: tuple[float, float]


SCENES = {
    "shsy5y": Scene(
        contrast=(60, 220),
        granules=(0.1, 0.4),
        flat=0.12,
        rim=(0.8, 2.5),
        nuclei=0.15,
        tails=0.7,
        rays=3,
        fibres=(0, 60),
        beads=0.1,
        vesicles=(10, 150),
        debris=(0, 25),
        dust=(0, 150),
    ),
    "astro": Scene(
        contrast=(50, 200),
        granules=(0.1, 0.5),
        flat=0.45,
        rim=(0.8, 2.5),
        nuclei=0.35,
        tails=0.4,
        rays=4,
        fibres=(0, 40),
        beads=0.2,
        vesicles=(8, 70),
        debris=(0, 40),
        dust=(0, 250),
    ),
    "cort": Scene(
        contrast=(100, 350),
        granules=(0.2, 0.6),
        flat=0.1,
        rim=(0.8, 2.5),
        nuclei=0.4,
        tails=0.6,
        rays=36,
        fibres=(5, 350),
        beads=0.5,
        vesicles=(1, 20),
        debris=(20, 260),
        dust=(50, 1500),
    ),
}


def render(
    cells: Sequence[Cell], cell_type: str, image_size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw an image of the cells.

    Args:
        cells: layout; crops inside the image.
        cell_type: key of `SCENES`, which decides on contrast and on what else lies around.
        image_size: (height, width) in pixels.

    Returns:
        uint8 [height, width].
    """
    scene = SCENES[cell_type]
    share = image_size[0] * image_size[1] / REFERENCE_PIXELS
    contrast = _log_uniform(scene.contrast, rng)
    thickness = _background(image_size, rng)
    thickness += _neurites(cells, scene, contrast, image_size, rng)
    margin = rng.uniform(-0.5, 2.5)  # annotators draw outside the halo or along the body
    for cell in cells:
        _add_cell(thickness, cell, scene, contrast, margin, rng)
    _add_vesicles(thickness, cells, rng.poisson(share * _log_uniform(scene.vesicles, rng)), rng)
    _add_debris(thickness, rng.poisson(share * rng.uniform(*scene.debris)), rng)
    thickness += _dust(image_size, rng.poisson(share * rng.uniform(*scene.dust)), rng)
    return _to_grey(_phase_contrast(thickness, rng), rng)


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Log-uniform draw between two limits >= 0 (from 1 up where the lower one is smaller)."""
    low, high = (max(1.0, limit) for limit in limits)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


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
    cell: Cell,
    scene: Scene,
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
    depth = cv2.GaussianBlur(depth, (0, 0), 0.7)  # rounds off the pixels' corners
    deepest = float(depth.max())
    depth = np.clip(depth - min(margin, 0.4 * deepest), 0, None)
    relative = depth / max(float(depth.max()), 1e-6)
    rim = min(rng.uniform(*scene.rim), deepest)
    dome = np.clip(depth / rim, 0, 1)
    size = cell.mask.shape
    gain = contrast * rng.lognormal(0, 0.35)
    if rng.random() < scene.flat:
        gain *= rng.uniform(0.15, 0.5)
        body = gain * dome * (1 + 0.8 * np.exp(-(((depth - rim) / 1.2) ** 2)))
    else:
        body = gain * dome * (1 + rng.uniform(0, 0.8) * relative)
    if rng.random() < 0.3:  # dark or bright inside rather than even
        body += gain * rng.uniform(-1.5, 1.0) * np.clip(relative - 0.3, 0, None)
    body += gain * _granules(size, rng.uniform(*scene.granules), rng) * dome
    if rng.random() < scene.nuclei:
        body += gain * _nucleus(cell, relative, rng)
    if rng.random() < 0.08:
        folds = smooth_noise(size, rng.uniform(2, 5), rng)
        body += gain * rng.uniform(0.3, 1.2) * np.exp(-((folds / 0.25) ** 2)) * dome
    thickness[window_of(cell)] += np.where(cell.mask, body, 0).astype(np.float32)


def _granules(
    size: tuple[int, int], amplitude: float, rng: np.random.Generator
) -> np.ndarray:
    """Grain that is dense in some parts of a cell and rare in others, float32 [h, w]."""
    grain = smooth_noise(size, rng.uniform(0.5, 1.3), rng)
    patches = np.clip(smooth_noise(size, rng.uniform(3, 8), rng) + rng.uniform(0, 2), 0, 2)
    grain *= patches
    if rng.random() < 0.3:  # single dark or bright grains
        grain = rng.choice((-1.0, 1.0)) * np.clip(np.abs(grain) - 1, 0, None) * 1.5
    return amplitude * grain


def _nucleus(cell: Cell, relative: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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


def _neurites(
    cells: Sequence[Cell],
    scene: Scene,
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
        if rng.random() < scene.tails:
            _draw_tails(canvas, cell, strength, scene.beads, rng)
        if rng.random() < 0.7:
            for _ in range(round(scene.rays * ray_share * rng.random() ** 2)):
                heading = rng.uniform(0, 2 * np.pi)
                path = _walk(_middle(cell), heading, rng.uniform(15, 70), 0.08, rng)
                _draw_path(canvas, path, strength * rng.uniform(0.3, 1), 1, 0.0, rng)
    share = height * width / REFERENCE_PIXELS
    bend = rng.uniform(0.02, 0.15)
    for _ in range(rng.poisson(share * rng.uniform(*scene.fibres))):
        start = rng.uniform((0, 0), (width, height))
        if rng.random() < 0.4:
            start = _middle(cells[rng.integers(len(cells))])
        path = _walk(start, rng.uniform(0, 2 * np.pi), rng.uniform(40, 300), bend, rng)
        thick = 1 if rng.random() < 0.96 else 2
        _draw_path(canvas, path, strength * rng.uniform(0.2, 0.9), thick, scene.beads, rng)
    fibres = canvas.astype(np.float32) / LINE_UNIT
    return fibres * np.clip(1 + 0.5 * smooth_noise(image_size, 3, rng), 0.1, 2)


def _draw_tails(
    canvas: np.ndarray, cell: Cell, strength: float, beads: float, rng: np.random.Generator
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
        length = rng.uniform(8, 60)
        for _ in range(1 + (rng.random() < 0.25)):  # some fork
            path = _walk(tip - 0.2 * outwards, heading + rng.normal(0, 0.25), length, 0.1, rng)
            _draw_path(canvas, path[:2], strength, 2, 0.0, rng)
            _draw_path(canvas, path, strength * rng.uniform(0.4, 1), 1, beads, rng)


def _middle(cell: Cell) -> np.ndarray:
    """x, y of the middle of a cell's box, float64 [2]."""
    return np.array(cell.offset) + np.array(cell.mask.shape[::-1]) / 2


def _walk(
    start: np.ndarray, heading: float, length: float, bend: float, rng: np.random.Generator
) -> np.ndarray:
    """A winding path of 4 px steps, float64 [P, 2] (x, y); `bend` is radians a step."""
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
    value = int(np.clip(strength * LINE_UNIT, 2, 255))
    if rng.random() < beads:
        for x, y in points[rng.random(len(points)) < rng.uniform(0.1, 0.7)].tolist():
            radius = int(rng.integers(4, 12))
            bead = min(255, int(value * rng.uniform(1, 2.5)))
            cv2.circle(canvas, (x, y), radius, bead, -1, cv2.LINE_AA, SHIFT)
        value = max(2, value // 2)
    cv2.polylines(canvas, [points], False, value, thick, cv2.LINE_AA, SHIFT)


def _add_vesicles(
    thickness: np.ndarray, cells: Sequence[Cell], heaps: int, rng: np.random.Generator
) -> None:
    """Heaps of bright bubbles with dark rings, on cells and beside them: dead cells, blebs."""
    height, width = thickness.shape
    for _ in range(heaps):
        centre = rng.uniform((0, 0), (width, height))
        if rng.random() < 0.6:
            centre = _middle(cells[rng.integers(len(cells))]) + rng.normal(0, 4, 2)
        count = int(rng.geometric(0.3))
        ring = rng.uniform(40, 220)
        for position in centre + rng.normal(0, 1.6 * np.sqrt(count), (count, 2)):
            radius = rng.uniform(1.5, 4.5)
            core = -ring * rng.uniform(0.2, 2.0)
            _add_bubble(thickness, position, radius, ring, core, rng)


def _add_debris(thickness: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Single dark discs, some with a bright spot, alone or in pairs."""
    height, width = thickness.shape
    for _ in range(count):
        position = rng.uniform((0, 0), (width, height))
        ring = rng.uniform(80, 350)
        core = -ring * rng.uniform(0.2, 1.5) if rng.random() < 0.35 else 0.0
        radius = rng.uniform(0.8, 3.8)
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


def _dust(image_size: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Faint specks of a pixel or two, dark or bright, float32 [height, width]."""
    dust = np.zeros(image_size, np.float32)
    rows, columns = (rng.integers(0, side, count) for side in image_size)
    dust[rows, columns] = rng.choice((-0.3, 1.0), count) * rng.uniform(20, 250, count)
    return cv2.GaussianBlur(dust, (0, 0), rng.uniform(0.6, 0.9))


def _phase_contrast(thickness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The microscope: difference of Gaussians that saturates, now and then with reversed contrast."""
    halo = _log_uniform((1.0, 2.8), rng)
    balance = rng.uniform(0.92, 1.0)  # 1: wide structures show their edges only
    focus = rng.uniform(0.25, 0.6) if rng.random() < 0.8 else rng.uniform(0.6, 1.1)
    image = balance * cv2.GaussianBlur(thickness, (0, 0), halo)
    image -= cv2.GaussianBlur(thickness, (0, 0), focus)
    saturation = rng.uniform(60, 120)  # grey levels
    image = saturation * np.tanh(image / saturation)
    return -image if rng.random() < 0.05 else image


def _to_grey(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add sensor noise and centre on the mean, uint8 [height, width]."""
    noise = rng.uniform(0.5, 2.5) * smooth_noise(image.shape, rng.uniform(0.3, 0.7), rng)
    image = image - image.mean() + noise
    return np.clip(np.round(image + MEAN), 0, 255).astype(np.uint8)
