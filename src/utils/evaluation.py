"""Scoring predictions on annotated images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm import tqdm

from utils.annotations import AnnotatedImage
from utils.ensemble import dominant_class
from utils.images import read_image
from utils.instances import Instances
from utils.masks import label_image
from utils.metrics import IOU_THRESHOLDS, ImageScore, score_image


@dataclass(frozen=True)
class ImageResult:
    """How well one image was segmented.

    Attributes:
        record: the image and its truth.
        cell_type: the most frequent true class, by label.
        predictions: number of predicted instances.
        score: counts at the ten IoU thresholds.
    """

    record: AnnotatedImage
    cell_type: int
    predictions: int
    score: ImageScore


def read_ahead(records: Iterable[AnnotatedImage]) -> Iterator[tuple[AnnotatedImage, np.ndarray]]:
    """Records with their images; the next image is read while the last one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for record in records:
            following = (record, pool.submit(read_image, record.path))
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
        if pending is not None:
            yield pending[0], pending[1].result()


def evaluate(
    predict: Callable[[np.ndarray], Instances], records: Sequence[AnnotatedImage]
) -> list[ImageResult]:
    """Segment and score every image with the competition's metric, one in memory at a time.

    Args:
        predict: from uint8 BGR [height, width, 3] to instances.
        records: annotated images.
    """
    results = []
    for record, image in tqdm(read_ahead(records), total=len(records), desc="evaluating"):
        instances = predict(image)
        score = score_image(label_image(instances), len(instances), record.rles, record.iscrowd)
        results.append(ImageResult(record, dominant_class(record.labels), len(instances), score))
    return results


def summarise(results: Sequence[ImageResult], class_names: Sequence[str]) -> pd.DataFrame:
    """One row for each cell type, over its own images, and one over all.

    Columns: images, cells, mAP, AP50, AP75 (mean over images), TP, FP, FN (sums at IoU 0.5),
    precision and recall at IoU 0.5.
    """
    rows = {}
    for label, name in enumerate(class_names):
        own = [result for result in results if result.cell_type == label]
        if own:
            rows[name] = _row(own)
    rows["all"] = _row(results)
    return pd.DataFrame.from_dict(rows, orient="index")


def _row(results: Sequence[ImageResult]) -> dict[str, float]:
    scores = [result.score for result in results]
    precisions = np.mean([score.precisions for score in scores], axis=0)
    tp, fp, fn = (
        sum(int(getattr(score, kind)[0]) for score in scores) for kind in ("tp", "fp", "fn")
    )
    return {
        "images": len(results),
        "cells": sum(int((~result.record.iscrowd).sum()) for result in results),
        "mAP": float(precisions.mean()),
        "AP50": float(precisions[0]),
        "AP75": float(precisions[np.flatnonzero(IOU_THRESHOLDS == 0.75)[0]]),
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "precision": tp / (tp + fp) if tp + fp else float("nan"),
        "recall": tp / (tp + fn) if tp + fn else float("nan"),
    }
