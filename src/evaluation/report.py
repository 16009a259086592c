"""What an evaluation prints and writes."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from cells.annotations import AnnotationSet
from evaluation.coco_ap import coco_average_precision
from evaluation.evaluator import ImageEvaluation
from evaluation.label_offsets import offset_advice, offset_table
from evaluation.metrics import summarise
from evaluation.thresholds import best_confidence
from utils.files import atomic_path, sha256, write_json

LIBRARIES = ("numpy", "torch", "torchvision", "mmcv-full", "mmdet", "pycocotools", "opencv-python")

OFFSETS = "offset of the labels from the cells found, in pixels"


def evaluation_tables(
    evaluations: Sequence[ImageEvaluation],
    truth: AnnotationSet,
    has_classes: bool,
    searching: bool,
) -> dict[str, pd.DataFrame]:
    """Tables by title: competition metric (before and after rescoring), COCO AP, labels' offset,
    thresholds.

    Args:
        evaluations: of all images.
        truth: the annotations.
        has_classes: whether the predictions have any.
        searching: also a table of the best thresholds.
    """
    names = truth.class_names
    tables = {}
    before = [e.before for e in evaluations if e.before is not None]
    if before:
        tables["before rescoring"] = summarise(before, names)
    tables["competition metric"] = summarise([e.result for e in evaluations], names)
    tables["COCO average precision"] = coco_average_precision(
        [e.coco_rows for e in evaluations], truth, class_agnostic=not has_classes
    )
    types = [e.result.cell_type for e in evaluations]
    offsets = offset_table([e.label_offsets for e in evaluations], types, names)
    if len(offsets):
        tables[OFFSETS] = offsets
    if searching:
        title = "confidence search" + " (before rescoring)" * bool(before)
        tables[title] = best_confidence([e.curve for e in evaluations], names)
    return tables


def print_tables(tables: dict[str, pd.DataFrame]) -> None:
    """Print each table under its title, and what follows from an offset of the labels."""
    for title, table in tables.items():
        print(f"{title}\n{table.round(4).to_string(na_rep='-')}\n")
    advice = offset_advice(tables[OFFSETS]) if OFFSETS in tables else None
    if advice:
        print(f"{advice}\n")


def write_report(
    out_dir: Path,
    tables: dict[str, pd.DataFrame],
    per_image: pd.DataFrame,
    files: Sequence[str | Path],
    args: argparse.Namespace,
) -> None:
    """`evaluation.json` (the tables and where they come from) and `per_image.csv`.

    Args:
        out_dir: is created.
        tables: see `evaluation_tables`.
        per_image: see `metrics.per_image_table`.
        files: weights, predictions and annotations, whose SHA-256 is recorded.
        args: all options.
    """
    report = {
        "tables": {
            title: {row: _plain(values) for row, values in table.to_dict(orient="index").items()}
            for title, table in tables.items()
        },
        "command": sys.argv,
        "options": vars(args),
        "sha256": {str(path): sha256(path) for path in files},
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
    }
    write_json(out_dir / "evaluation.json", report)
    with atomic_path(out_dir / "per_image.csv") as temporary:
        per_image.to_csv(temporary, index=False)


def write_results(path: str | Path, rows_by_image: Sequence[Sequence[dict]]) -> None:
    """The predictions as a COCO results file, one line of it for each image that has any.

    Args:
        path: the file.
        rows_by_image: see `coco_ap.result_rows`.

    Raises:
        InputError: the folder cannot be written to.
    """
    lines = ",\n".join(",".join(map(json.dumps, rows)) for rows in rows_by_image if rows)
    with atomic_path(path) as temporary:
        temporary.write_text(f"[{lines}]", encoding="utf-8")


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no nan and no infinity: they become null."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
