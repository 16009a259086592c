"""What simulated phase-contrast images of each cell type hold, as ranges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scene:
    """What images of a cell type hold; pairs are ranges, from which each image draws.

    Attributes:
        contrast: optical thickness of bodies.
        granules: thickness of the granular texture in bodies, relative to the body's.
        flat: probability of a thin, flat cell that shows little more than texture and its edge.
        rim: pixels from a body's edge to its full thickness.
        striae: probability that a body shows fibres along its major axis.
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
    striae: float
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
        granules=(0.03, 0.3),
        flat=0.12,
        rim=(1.2, 3.0),
        striae=0.1,
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
        contrast=(40, 200),
        granules=(0.03, 0.35),
        flat=0.45,
        rim=(1.2, 3.0),
        striae=0.35,
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
        contrast=(130, 400),
        granules=(0.05, 0.4),
        flat=0.1,
        rim=(1.2, 3.0),
        striae=0.0,
        nuclei=0.4,
        tails=0.6,
        rays=36,
        fibres=(5, 350),
        beads=0.5,
        vesicles=(1, 20),
        debris=(20, 260),
        dust=(100, 3000),
    ),
}


def log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Log-uniform draw between two limits >= 0 (from 1 up where the lower one is smaller)."""
    low, high = (max(1.0, limit) for limit in limits)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
