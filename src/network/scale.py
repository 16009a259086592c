"""Scale of an image against the training's: what a checkpoint knows, and what a user tells.

Entries of a checkpoint's `inference` (training writes them, see `with_training_scale`):

    scale          network pixels per input pixel in training
    field          [height, width] of a training image in its own pixels
    cell_diameter  median cell diameter in pixels of the training images, by class name, `default`
                   over all classes; a diameter is that of the circle of the cell's area
    pixel_size     micrometres per pixel of the training images, where it is known

Earlier checkpoints have `short_side` and `long_side` only. All of them were trained on Sartorius
images or on images of that size, so their training images are taken to be 704 x 520 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# Of checkpoints that do not say it themselves: the challenge's images and its training labels.
# LIVECell's paper gives 1.75 x 1.29 mm for 1408 x 1040 pixels of the same microscope.
FIELD = (520, 704)
PIXEL_SIZE = 1.24
CELL_DIAMETER = {"shsy5y": 15.4, "astro": 29.6, "cort": 16.4, "default": 17.3}


def network_scale(inference: Mapping, image_size: Sequence[int] | None = None) -> float:
    """Network pixels per input pixel.

    Args:
        inference: entry of a checkpoint or of a config. `scale` is the answer where it is there;
            otherwise an image of the training's size gets the short side `short_side`, unless its
            long side would then exceed `long_side`.
        image_size: (height, width) of the training images where `inference` does not say it.
    """
    if "scale" in inference:
        return float(inference["scale"])
    sides = image_size or training_field(inference)
    return min(inference["short_side"] / min(sides), inference["long_side"] / max(sides))


def training_field(inference: Mapping) -> tuple[int, int]:
    """(height, width) of a training image in its own pixels."""
    height, width = inference.get("field", FIELD)
    return int(height), int(width)


def cell_diameters(inference: Mapping, class_names: Sequence[str]) -> dict[str, float] | None:
    """Median cell diameter by class name and `default`, in pixels of the training images.

    None where the checkpoint does not know it: an earlier one whose classes are not Sartorius'.
    """
    if "cell_diameter" in inference:
        return dict(inference["cell_diameter"])
    known = "scale" not in inference and set(class_names) <= CELL_DIAMETER.keys()
    return dict(CELL_DIAMETER) if known else None


def training_pixel_size(inference: Mapping, class_names: Sequence[str]) -> float | None:
    """Micrometres per pixel of the training images; None where the checkpoint does not know it."""
    if "pixel_size" in inference:
        return float(inference["pixel_size"])
    known = "scale" not in inference and set(class_names) <= CELL_DIAMETER.keys()
    return PIXEL_SIZE if known else None


def with_training_scale(
    inference: Mapping,
    image_size: Sequence[int],
    diameters: Mapping[str, float],
    pixel_size: float | None = None,
) -> dict:
    """`inference` with all that a new checkpoint is to know of its training images.

    Args:
        inference: of the config; a `scale` in it stays, otherwise `short_side` and `long_side`
            decide for an image of `image_size`.
        image_size: usual (height, width) of the training images.
        diameters: what `median_diameters` makes of their cells.
        pixel_size: micrometres per pixel, where it is known.
    """
    known = {} if pixel_size is None else {"pixel_size": float(pixel_size)}
    return {
        **inference,
        "scale": network_scale(inference, image_size),
        "field": [int(side) for side in image_size],
        "cell_diameter": dict(diameters),
        **known,
    }


def with_short_side(inference: Mapping, short_side: int) -> dict:
    """`inference` at another scale: a training image's short side gets `short_side` pixels."""
    factor = short_side / (network_scale(inference) * min(training_field(inference)))
    sides = ("short_side", "long_side")
    changed = {name: round(inference[name] * factor) for name in sides if name in inference}
    if "scale" in inference:
        changed["scale"] = inference["scale"] * factor
    return {**inference, **changed}


def median_diameters(
    areas: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Median diameter of the circles of the cells' areas.

    Args:
        areas: foreground pixels of N cells; empty masks do not count.
        labels: int64 [N], index into the class names.

    Returns:
        By class name for classes that have cells, `default` over all; empty without any cell.
    """
    areas, labels = np.asarray(areas, np.float64), np.asarray(labels)
    labels, diameters = labels[areas > 0], 2 * np.sqrt(areas[areas > 0] / np.pi)
    groups = {name: diameters[labels == label] for label, name in enumerate(class_names)}
    groups["default"] = diameters
    return {name: float(np.median(group)) for name, group in groups.items() if len(group)}
