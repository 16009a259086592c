"""Pictures of an evaluation: found, false and missed cells, and the precision/recall plot."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cells.annotations import AnnotatedImage
from cells.drawing import draw_groups
from cells.exports.picture import write_picture
from cells.instances import Instances
from cells.masks import binary_crops
from cells.rle import rle_crop
from evaluation.metrics import IOU_THRESHOLDS, Comparison
from evaluation.thresholds import CONFIDENCES, ImageCurve, precision_and_recall
from utils.files import atomic_path

# BGR of Okabe and Ito's palette, which colour-blind people can tell apart
TRUE_POSITIVE, FALSE_POSITIVE, MISS = (115, 158, 0), (0, 94, 213), (66, 228, 240)


def write_error_picture(
    show_dir: Path,
    image: np.ndarray,
    record: AnnotatedImage,
    instances: Instances,
    comparison: Comparison,
) -> None:
    """Write `AP<score>_<image id>.png`: in a folder sorted by name the worst image comes first.

    A picture of the same image from an earlier evaluation is replaced.
    """
    name = re.sub(r"[^\w.-]", "_", str(record.id))
    target = show_dir / f"AP{comparison.score().ap:.4f}_{name}.png"
    write_picture(target, draw_errors(image, record, instances, comparison))
    for path in show_dir.glob(f"AP[01].[0-9][0-9][0-9][0-9]_{glob.escape(name)}.png"):
        if path != target:
            path.unlink()


def draw_errors(
    image: np.ndarray, record: AnnotatedImage, instances: Instances, comparison: Comparison
) -> np.ndarray:
    """Outlines of true positives, false positives and misses at IoU 0.5, in three colours.

    Args:
        image: uint8 BGR [height, width, 3].
        record: its truth.
        instances: N predictions.
        comparison: of the predictions with the truth.

    Returns:
        uint8 BGR picture with a legend below, enlarged by a whole factor where the image is small.
    """
    matches = comparison.iou > IOU_THRESHOLDS[0]
    found, missed = matches.any(axis=1), ~matches.any(axis=0)
    predicted = list(zip(binary_crops(instances), instances.offsets, strict=True))
    cells = record.cell_rles
    groups: list[tuple[str, tuple[int, int, int], Sequence[tuple]]] = [
        ("missed", MISS, [rle_crop(cells[i]) for i in np.flatnonzero(missed)]),
        ("false", FALSE_POSITIVE, _select(predicted, ~found & comparison.counted)),
        ("found", TRUE_POSITIVE, _select(predicted, found & comparison.counted)),
    ]
    return draw_groups(image, f"AP {comparison.score().ap:.3f}", groups)


def plot_precision_recall(path: Path, curves: Sequence[ImageCurve]) -> None:
    """Precision and recall at IoU 0.5 over all images against the confidence threshold (PNG)."""
    from matplotlib.figure import Figure

    precision, recall = precision_and_recall(curves)
    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot(CONFIDENCES, precision, label="precision")
    axes.plot(CONFIDENCES, recall, "--", label="recall")
    axes.set(
        xlabel="confidence threshold",
        ylabel="at IoU 0.5",
        xlim=(0, 1),
        ylim=(0, 1.02),
        title=f"{len(curves)} images",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _select(crops: Sequence[tuple], chosen: np.ndarray) -> list[tuple]:
    return [crops[i] for i in np.flatnonzero(chosen).tolist()]
