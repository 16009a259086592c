"""All numbers of the three cell types: the shapes of their cells, and how their images look."""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE_PIXELS = 704 * 520  # image area that the cell counts refer to
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class CellType:
    """Shape statistics of a cell type.

    Attributes:
        counts: cells in 704 x 520 pixels at `QUANTILES`.
        areas: pixels of a whole cell at `QUANTILES`.
        aspect: median ratio of major to minor axis, and sigma of its logarithm.
        concavity: how far the outline falls in between its corners, 0 (ellipse) to 1.
        corners: probabilities of an outline with 2, 3 and 4 corners.
        processes: probabilities of 0, 1, 2, ... tapering arms.
        reach: length of an arm in major half axes.
        clustering: 0 (uniform) and up: how much denser clusters are than their surroundings.
        overlap: largest share of a cell that may lie under others.
    """

    counts: tuple[float, ...]
    areas: tuple[float, ...]
    aspect: tuple[float, float]
    concavity: float
    corners: tuple[float, float, float]
    processes: tuple[float, ...]
    reach: float
    clustering: float
    overlap: float


# Fitted to annotations of phase-contrast images of these cell types.
CELL_TYPES = {
    "shsy5y": CellType(
        counts=(40, 98, 200, 324, 430, 551, 700),
        areas=(35, 77, 136, 196, 289, 501, 1100),
        aspect=(1.75, 0.32),
        concavity=0.4,
        corners=(0.55, 0.3, 0.15),
        processes=(0.8, 0.15, 0.05),
        reach=1.0,
        clustering=1.0,
        overlap=0.28,
    ),
    "astro": CellType(
        counts=(8, 19, 40, 66, 92, 128, 170),
        areas=(80, 171, 342, 557, 974, 2131, 6000),
        aspect=(2.4, 0.40),
        concavity=0.5,
        corners=(0.4, 0.35, 0.25),
        processes=(0.35, 0.3, 0.2, 0.15),
        reach=1.2,
        clustering=1.0,
        overlap=0.28,
    ),
    "cort": CellType(
        counts=(9, 16, 22, 30, 42, 69, 100),
        areas=(45, 96, 147, 203, 285, 505, 900),
        aspect=(1.2, 0.18),
        concavity=0.06,
        corners=(0.7, 0.2, 0.1),
        processes=(0.93, 0.07),
        reach=0.7,
        clustering=0.8,
        overlap=0.28,
    ),
}


@dataclass(frozen=True)
class Appearance:
    """How images of a cell type look; pairs are ranges, from which each image draws.

    Attributes:
        contrast: optical thickness of bodies.
        granules: thickness of the granular texture in bodies, relative to the body's.
        flat: probability of a thin, flat cell that shows little more than texture and its edge.
        rim: pixels from a body's edge to its full thickness.
        striae: probability that a body shows fibres along its major axis.
        nuclei: probability that a body shows its nucleus.
        tails: probability that an unlabelled neurite prolongs a cell.
        rays: largest number of thin neurites around one cell.
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


APPEARANCES = {
    "shsy5y": Appearance(
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
    "astro": Appearance(
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
    "cort": Appearance(
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
