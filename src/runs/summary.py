"""What a run sums up at its end, from the records of all processes: tables and `run.json`."""

from __future__ import annotations

import csv
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cells.exports.kaggle import join_submissions
from cells.exports.segmented import SegmentedImage
from runs.names import RUN, SUBMISSION, SUMMARY
from runs.plan import PlannedImage
from runs.records import Records, files_of_runs
from utils.files import atomic_path, write_json
from utils.paths import printable

MOST_CELLS = 2000  # of a class in an image that a report's distributions are made of
LIBRARIES = ("numpy", "torch", "torchvision", "mmcv-full", "mmdet", "opencv-python", "catboost")


def summary_row(segmented: SegmentedImage, seconds: float) -> dict[str, object]:
    """The line of one image in summary.csv.

    Args:
        segmented: the image and its cells.
        seconds: that it took.

    Returns:
        Cells that the label image shows, in all and by class, the share of the image that they
        cover (in percent), and their mean size in pixels and mean score (None without cells).
    """
    instances = segmented.instances
    areas = np.array([np.count_nonzero(crop) for crop in segmented.visible], np.int64)
    shown = areas > 0
    count = int(shown.sum())
    by_class = np.bincount(instances.labels[shown], minlength=len(segmented.class_names))
    mean_area = round(float(areas[shown].mean()), 2) if count else None
    height, width = instances.image_size
    return {
        "image": segmented.file_name + (segmented.source.suffix if segmented.source else ""),
        "cells": count,
        **{
            f"cells {name}": int(n) for name, n in zip(segmented.class_names, by_class, strict=True)
        },
        "confluence (%)": round(100 * float(areas.sum()) / (height * width), 3),
        "mean area (pixels)": mean_area,
        "mean area (um2)": _in_um2(mean_area, segmented.pixel_size),
        "mean score": round(float(instances.scores[shown].mean()), 4) if count else None,
        "seconds": round(seconds, 3),
    }


def _in_um2(pixels: float | None, pixel_size: float | None) -> float | None:
    return round(pixels * pixel_size**2, 3) if pixels is not None and pixel_size else None


def cell_samples(segmented: SegmentedImage) -> dict[str, dict[str, list[float]]]:
    """Size, score and mean intensity of cells, by class, for the distributions of a report.

    Returns:
        For each class lists of equal length: `area` in pixels, `score`, and `intensity` as the
        table has it (of the first channel); at most `MOST_CELLS` evenly chosen cells.
    """
    instances, crops = segmented.instances, segmented.visible
    shown = np.array([i for i, crop in enumerate(crops) if crop.any()], np.int64)
    samples = {}
    for label, name in enumerate(segmented.class_names):
        cells = shown[instances.labels[shown] == label]
        cells = cells[:: -(-len(cells) // MOST_CELLS) or 1]
        samples[name] = {
            "area": [int(np.count_nonzero(crops[i])) for i in cells],
            "score": [round(float(instances.scores[i]), 4) for i in cells],
            "intensity": [_intensity(segmented, i) for i in cells],
        }
    return samples


def _intensity(segmented: SegmentedImage, i: int) -> float | None:
    crop, (x, y) = segmented.visible[i], map(int, segmented.instances.offsets[i])
    window = segmented.raw_window(y, y + crop.shape[0], x, x + crop.shape[1])
    values = window[crop][:, 0].astype(np.float64)
    values = values[np.isfinite(values)]
    return round(float(values.mean()), 3) if len(values) else None


def write_run(out_dir: Path, information: Mapping[str, object], **more: object) -> None:
    """`run.json`: how the results were made.

    Args:
        out_dir: folder of the run.
        information: models, settings, options, and `files`, the names of the files about the whole
            run, to which those of earlier runs are added, like versions and hardware.
        more: counts at the end.
    """
    surroundings = {
        "command": [printable(argument) for argument in sys.argv],
        "folder": os.getcwd(),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
    }
    named = information.get("files", ())
    files = {"files": sorted({RUN, SUMMARY, *named, *files_of_runs(out_dir)})}
    write_json(out_dir / RUN, {**surroundings, **information, **files, **more})


def sum_up(
    out_dir: Path,
    planned: Sequence[PlannedImage],
    records: Records,
    information: Mapping[str, object],
) -> dict[str, str]:
    """Write summary.csv, submission.csv (with `--save kaggle`) and run.json.

    Any process of a run may do it at its end. What others finish meanwhile is not lost: the last
    to finish has seen the records of all.

    Args:
        out_dir: folder of the run.
        planned: all images of the run, not only those of this process.
        records: of the run.
        information: see `write_run`.

    Returns:
        Messages of the images that failed, by their labels.
    """
    seen, failed = None, {}
    while True:
        found = [(image, records.read(image.name)) for image in planned]
        done = [(image, record) for image, record in found if records.counts(record)]
        if done == seen:
            return failed
        seen = done
        failed = {i.label: r["error"] for i, r in found if records.tells_failure(r)}
        _write_rows(out_dir / SUMMARY, [record["row"] for _, record in done])
        # another shard's images may be done by an earlier run without --save kaggle
        files = [(i.files["kaggle"], record) for i, record in done if "kaggle" in i.files]
        parts = [p for p, record in files if p.name in record["outputs"] and p.is_file()]
        if parts:
            join_submissions(out_dir / SUBMISSION, parts)
        write_run(out_dir, information, images=len(planned), finished=len(done), failed=failed)


def _write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        names = dict.fromkeys(name for row in rows for name in row) or ["image"]
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
