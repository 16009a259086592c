"""Measurements of every cell of the label image."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.measure import regionprops

from cells.exports.segmented import SegmentedImage
from utils.files import atomic_path

LENGTHS = ("axis_major_length", "axis_minor_length", "perimeter")
SHAPE = (
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "orientation",
    "perimeter",
)
INTENSITY: dict[str, Callable[[np.ndarray], np.floating]] = {
    "mean": np.mean,
    "std": np.std,
    "min": np.min,
    "max": np.max,
}


def write_table(path: Path, segmented: SegmentedImage) -> None:
    """One CSV row per instance of the label image: class, score, and measurements."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(segmented), lineterminator="\n")
        writer.writeheader()
        writer.writerows(measure(segmented))


def columns(segmented: SegmentedImage) -> list[str]:
    """Names of the table's columns.

    Lengths and areas are in pixels, and once more in micrometres where the pixel size is known.
    Intensities are the file's own values, of every channel; the channel's name stands behind them
    where there are several.
    """
    physical: tuple[str, ...] = ()
    if segmented.pixel_size:
        lengths = (f"{name}_um" for name in ("centroid_y", "centroid_x", *LENGTHS))
        physical = ("area_um2", *lengths)
    intensities = (f"{kind}_intensity{end}" for end in _endings(segmented) for kind in INTENSITY)
    first = ("label", "class", "score", "area", "centroid_y", "centroid_x")
    return [*first, *SHAPE, *intensities, *physical]


def measure(segmented: SegmentedImage) -> Iterator[dict[str, Any]]:
    """Rows of `columns`, one for each instance that the label image shows.

    Each is measured in its own window, so that memory does not depend on the image's size.
    """
    instances = segmented.instances
    for i, crop in enumerate(segmented.visible):
        if not crop.any():
            continue
        x, y = map(int, instances.offsets[i])
        (region,) = regionprops(crop.astype(np.uint8))
        row = {
            "label": i + 1,
            "class": segmented.class_names[instances.labels[i]],
            "score": round(float(instances.scores[i]), 6),
            "area": int(region.area),
            "centroid_y": float(region.centroid[0] + y),
            "centroid_x": float(region.centroid[1] + x),
            **{name: float(region[name]) for name in SHAPE},
        }
        window = segmented.raw_window(y, y + crop.shape[0], x, x + crop.shape[1])
        row |= _intensities(window[crop], _endings(segmented))
        if segmented.pixel_size:
            row |= _in_micrometres(row, segmented.pixel_size)
        yield row


def _intensities(values: np.ndarray, endings: Sequence[str]) -> dict[str, float | str]:
    """Of the values [N, channels] of one cell; those that are not finite do not count."""
    row = {}
    for channel, end in enumerate(endings):
        own = values[:, channel].astype(np.float64)
        own = own[np.isfinite(own)]
        for kind, measured in INTENSITY.items():
            row[f"{kind}_intensity{end}"] = float(measured(own)) if len(own) else ""
    return row


def _in_micrometres(row: dict, pixel_size: float) -> dict[str, float]:
    lengths = ("centroid_y", "centroid_x", *LENGTHS)
    return {
        "area_um2": row["area"] * pixel_size**2,
        **{f"{name}_um": row[name] * pixel_size for name in lengths},
    }


def _endings(segmented: SegmentedImage) -> list[str]:
    """What distinguishes the columns of the channels: nothing for a single one.

    Channels of one name are numbered from 0, as `--channel` counts them.
    """
    if len(segmented.channels) == 1:
        return [""]
    ends = ["_" + "_".join(name.split()) for name in segmented.channels]
    if len(set(ends)) < len(ends):
        ends = [f"_{number}{end}" for number, end in enumerate(ends)]
    return ends
