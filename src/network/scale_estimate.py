"""The scale of an image, from how sure the models are and how large the cells come out."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from cells.pictures import Picture
from network.ensemble import Ensemble
from network.scale import cell_diameters, training_field
from network.scale_check import size_ratio
from utils.script import InputError
from utils.stages import StageTimer

FIRST_PASS = (0.25, 0.5, 1.0, 2.0, 4.0)
HALF_STEP = math.sqrt(2)  # of the second pass, up and down from the best of the first
# Networks find cells of their own size in anything; a trial is judged by the mean score times a
# bell over the logarithm of the size ratio, of this width. On nine validation images of three cell
# types it is highest at the true scale or half a step from it, other rules are often far off.
SIZE_SPREAD = 0.25


def estimate_scale(ensemble: Ensemble, picture: Picture) -> float:
    """Size of the image's pixels relative to the training images', between 0.2 and 7.

    Looks at the middle of the image, as much of it as a training field holds at each scale.

    Raises:
        InputError: the models do not know the size of their cells, or find too few at any scale.
    """
    inference = ensemble.views[0].detector.inference
    diameters = cell_diameters(inference, ensemble.class_names)
    if diameters is None:
        raise InputError(
            "--estimate_scale: the models do not know how large the cells that they were trained "
            "on are; give --scale"
        )
    field = training_field(inference)
    tried: dict[float, tuple[float, float]] = {}  # quality and size ratio by scale

    def best_of(scales: Iterable[float]) -> float:
        for scale in scales:
            tried[scale] = _trial(ensemble, _middle(picture, field, scale), scale, diameters)
        return max(tried, key=lambda scale: tried[scale][0])

    best = best_of(FIRST_PASS)
    best = best_of((best / HALF_STEP, best * HALF_STEP))
    quality, ratio = tried[best]
    if not quality:
        raise InputError(
            f"{getattr(picture, 'path', 'image')}: --estimate_scale: too few cells found at any "
            "scale; give --scale or --diameter"
        )
    # what is left lies within half of a half step
    return best / float(np.clip(ratio, HALF_STEP**-0.5, HALF_STEP**0.5))


def _middle(picture: Picture, field: tuple[int, int], scale: float) -> np.ndarray:
    """The middle of an image, a training field at most, uint8 BGR."""
    spans = []
    for side, part in zip(picture.shape, field, strict=True):
        length = min(side, max(1, round(part / scale)))
        spans += [(side - length) // 2, (side - length) // 2 + length]
    y0, y1, x0, x1 = spans
    return picture.window(y0, y1, x0, x1)


def _trial(
    ensemble: Ensemble, pixels: np.ndarray, scale: float, diameters: dict[str, float]
) -> tuple[float, float]:
    """How well a scale fits, 0 to 1, and the size ratio of the cells found with it."""
    timer = StageTimer()
    (found,) = ensemble.detect([ensemble.prepare(pixels, timer, scale)], timer)
    instances = ensemble.finish(found, timer)
    ratio = size_ratio(instances, ensemble.class_names, diameters, scale)
    if ratio is None:
        return 0.0, 1.0
    agreement = math.exp(-0.5 * (math.log(ratio) / SIZE_SPREAD) ** 2)
    return float(instances.scores.mean()) * agreement, ratio
