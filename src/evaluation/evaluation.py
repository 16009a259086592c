"""Scoring predictions on annotated images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
import torch.distributed as dist
from tqdm import tqdm

from cells.annotations import AnnotatedImage
from cells.images import read_image
from cells.instances import Instances
from cells.masks import label_image
from evaluation.metrics import IOU_THRESHOLDS, Comparison, ImageScore, compare
from network.ensemble import dominant_class
from utils.stages import load_ahead

T = TypeVar("T")
NO_TYPE = -1  # cell type of an image without truth


@dataclass(frozen=True)
class ImageResult:
    """How well one image was segmented.

    Attributes:
        image: the id in the annotation file.
        cell_type: the most frequent true class, by label, or `NO_TYPE`.
        cells: number of true instances, crowd regions not counted.
        predictions: number of predicted instances.
        score: counts at the ten IoU thresholds.
    """

    image: str | int
    cell_type: int
    cells: int
    predictions: int
    score: ImageScore


def compare_instances(instances: Instances, record: AnnotatedImage) -> Comparison:
    """Resolve the overlaps of the predictions and compare them with the truth."""
    return compare(label_image(instances), len(instances), record.rles, record.iscrowd)


def image_result(record: AnnotatedImage, comparison: Comparison) -> ImageResult:
    """Sum up one image."""
    labels = record.labels[~record.iscrowd]
    return ImageResult(
        image=record.id,
        cell_type=dominant_class(labels) if len(labels) else NO_TYPE,
        cells=len(labels),
        predictions=len(comparison.counted),
        score=comparison.score(),
    )


def evaluate(
    predict: Callable[[np.ndarray], Instances], records: Sequence[AnnotatedImage]
) -> list[ImageResult]:
    """Segment and score every image with the competition's metric, one in memory at a time.

    Args:
        predict: from uint8 BGR [height, width, 3] to instances.
        records: annotated images.
    """

    def examine(record: AnnotatedImage, image: np.ndarray) -> ImageResult:
        return image_result(record, compare_instances(predict(image), record))

    return for_each_image(examine, records)


def for_each_image(
    examine: Callable[[AnnotatedImage, np.ndarray], T],
    records: Sequence[AnnotatedImage],
    rank: int = 0,
    world: int = 1,
) -> list[T]:
    """Apply `examine` to every image; the processes of a distributed run share the images.

    Args:
        examine: what it returns is kept for all images, so that it should be small; in a
            distributed run it must be picklable.
        records: annotated images, the same in every process.
        rank, world: number of this process and of all; process r takes images r, r + world ...

    Returns:
        One entry for each record, in their order, in every process.
    """
    own = records[rank::world]
    bar = tqdm(read_ahead(own), total=len(own), desc="evaluating", disable=rank > 0)
    shares = [[examine(record, image) for record, image in bar]]
    if world > 1:
        shares, mine = [None] * world, shares[0]
        dist.all_gather_object(shares, mine)
    return [shares[i % world][i // world] for i in range(len(records))]


def read_ahead(records: Iterable[AnnotatedImage]) -> Iterator[tuple[AnnotatedImage, np.ndarray]]:
    """Records with their images; the next image is read while the last one is worked on."""
    for record, image in load_ahead(records, lambda record: read_image(record.path)):
        yield record, image.result()


def summarise(results: Sequence[ImageResult], class_names: Sequence[str]) -> pd.DataFrame:
    """One row for each cell type, over its own images, and one over all.

    Columns: images, cells, mAP, AP50, AP75 (mean over images), TP, FP, FN (sums at IoU 0.5),
    precision and recall at IoU 0.5. Images without truth count in the last row only.
    """
    rows = {}
    for label, name in enumerate(class_names):
        own = [result for result in results if result.cell_type == label]
        if own:
            rows[name] = _row(own)
    rows["all"] = _row(results)
    return pd.DataFrame.from_dict(rows, orient="index")


def per_image_table(results: Sequence[ImageResult], class_names: Sequence[str]) -> pd.DataFrame:
    """One row for each image: its type, number of predictions, and the columns of `summarise`."""
    rows = [
        {
            "image": result.image,
            "cell_type": "" if result.cell_type == NO_TYPE else class_names[result.cell_type],
            "predictions": result.predictions,
            **_row([result]),
        }
        for result in results
    ]
    return pd.DataFrame(rows).drop(columns="images").rename(columns={"mAP": "AP"})


def _row(results: Sequence[ImageResult]) -> dict[str, float]:
    scores = [result.score for result in results]
    precisions = np.mean([score.precisions for score in scores], axis=0)
    tp, fp, fn = (
        sum(int(getattr(score, kind)[0]) for score in scores) for kind in ("tp", "fp", "fn")
    )
    return {
        "images": len(results),
        "cells": sum(result.cells for result in results),
        "mAP": float(precisions.mean()),
        "AP50": float(precisions[0]),
        "AP75": float(precisions[np.flatnonzero(IOU_THRESHOLDS == 0.75)[0]]),
        "TP": tp,
        "FP": fp,
        "FN": fn,
        "precision": tp / (tp + fp) if tp + fp else float("nan"),
        "recall": tp / (tp + fn) if tp + fn else float("nan"),
    }
