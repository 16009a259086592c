"""What the two evaluation scripts share: their options, and the report they write."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.runtime import (
    PRECISIONS,
    InputError,
    atomic_path,
    quiet_libraries,
    resolve_device,
    resolve_precision,
)

if TYPE_CHECKING:
    from utils.annotations import AnnotationSet
    from utils.evaluation import ImageResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that do not depend on the number of models."""
    add = parser.add_argument
    add("--image_dir", default="data/images", help="folder that file_name is relative to")
    add(
        "--annotation_dir",
        default="data/annotations_semi_supervised_round2",
        help="folder of annotations_valid_<fold>.json (COCO)",
    )
    add("--fold", type=int, default=0, help="number in the annotation file's name")
    add("--annotation_file", help="COCO file to use instead")
    add("--out_dir", default="evaluation", help="folder of the report (default: %(default)s)")
    add("--score_thr", type=float, help="one confidence threshold (default: by class, from models)")
    add("--tta", action="store_true", help="also look at the mirrored image")
    add("--skip_invalid", action="store_true", help="leave invalid images and annotations out")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--precision", choices=PRECISIONS, default="auto")


def evaluate_weights(weights: Sequence[str], args: argparse.Namespace) -> None:
    """Segment the validation images, print the table and write the report.

    Raises:
        InputError: bad weights, annotations or options.
    """
    quiet_libraries()
    from utils.annotations import annotation_file, load_annotations
    from utils.ensemble import load_ensemble
    from utils.evaluation import evaluate, summarise

    device = resolve_device(args.device)
    dtype = resolve_precision(args.precision, device)
    path = args.annotation_file or annotation_file(args.annotation_dir, "valid", args.fold)
    ensemble = load_ensemble(weights, device, dtype, args.score_thr, args.tta)
    truth = load_annotations(path, args.image_dir, args.skip_invalid)
    if set(truth.class_names) != set(ensemble.class_names):
        raise InputError(
            f"{path}: categories ({', '.join(truth.class_names)}) differ from the classes of "
            f"--weights ({', '.join(ensemble.class_names)}); evaluate with the matching data"
        )
    results = evaluate(ensemble.predict, truth.images)
    table = summarise(results, truth.class_names)
    print(table.round(4).to_string())
    write_report(Path(args.out_dir), weights, truth, results)
    print(f"written to {args.out_dir}: evaluation.json, per_image.csv")


def write_report(
    out_dir: Path, weights: Sequence[str], truth: AnnotationSet, results: Sequence[ImageResult]
) -> None:
    """`evaluation.json` (the table and where it comes from) and `per_image.csv`."""
    import mmdet
    import pandas as pd
    import torch

    from utils.evaluation import summarise

    report = {
        "table": summarise(results, truth.class_names).to_dict(orient="index"),
        "command": sys.argv,
        "weights": {str(path): sha256(path) for path in weights},
        "versions": {"torch": str(torch.__version__), "mmdet": mmdet.__version__},
    }
    with atomic_path(out_dir / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2), encoding="utf-8")
    rows = [
        {
            "image": result.record.id,
            "cell_type": truth.class_names[result.cell_type],
            "cells": int((~result.record.iscrowd).sum()),
            "predictions": result.predictions,
            "AP": result.score.ap,
            "TP": result.score.tp[0],
            "FP": result.score.fp[0],
            "FN": result.score.fn[0],
        }
        for result in results
    ]
    with atomic_path(out_dir / "per_image.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
