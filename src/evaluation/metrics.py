"""The competition's metric: mean over images of the average precision over ten IoU thresholds.

From pixels to tables: IoU of predictions with true masks (`compare`), counts at each threshold
(`ImageScore`), one image summed up (`ImageResult`), and tables over all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pycocotools import mask as coco_mask

from cells.annotations import NO_TYPE, AnnotatedImage
from cells.instances import Instances
from cells.masks import label_image
from cells.rle import foreground_pixels

IOU_THRESHOLDS = np.arange(50, 100, 5) / 100  # 0.50, 0.55 ... 0.95
TRUTH_CHUNK = 128  # true masks compared at a time; bounds the memory


@dataclass(frozen=True)
class ImageScore:
    """Counts of one image at each of the ten IoU thresholds, int64 [10] (or [10, ...])."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @property
    def precisions(self) -> np.ndarray:
        """TP / (TP + FP + FN) for each count, float64; 1 where there is nothing at all."""
        total = self.tp + self.fp + self.fn
        return np.where(total > 0, self.tp / np.maximum(total, 1), 1.0)

    @property
    def ap(self) -> float:
        """Average precision of the image: mean over the thresholds."""
        return float(self.precisions.mean())


@dataclass(frozen=True)
class Comparison:
    """Predictions of one image against its truth.

    Attributes:
        iou: float64 [N, M], IoU of every prediction with every true mask, crowd regions left out.
        counted: bool [N], False for predictions that lie in crowd regions.
    """

    iou: np.ndarray
    counted: np.ndarray

    def score(self) -> ImageScore:
        """Counts at the ten thresholds."""
        return count_matches(self.iou[self.counted])


def iou_with_label_image(labels: np.ndarray, count: int, rles: Sequence[dict]) -> np.ndarray:
    """IoU over pixels of non-overlapping predictions with true masks, which may overlap.

    Args:
        labels: int32 [height, width], 0 background, i + 1 for prediction i.
        count: number N of predictions; one whose pixels all belong to others
            has IoU 0 with everything.
        rles: M true masks.

    Returns:
        float64 [N, M].
    """
    by_column = labels.ravel(order="F")  # as RLE counts pixels
    areas = np.bincount(by_column, minlength=count + 1)[1:]
    iou = np.zeros((count, len(rles)))
    for start in range(0, len(rles), TRUTH_CHUNK):
        chunk = rles[start : start + TRUTH_CHUNK]
        pixels, truth = foreground_pixels(chunk)
        pairs = np.bincount(
            truth * (count + 1) + by_column[pixels], minlength=len(chunk) * (count + 1)
        ).reshape(len(chunk), count + 1)
        covered = pairs[:, 1:]
        union = areas + pairs.sum(axis=1, keepdims=True) - covered
        iou[:, start : start + TRUTH_CHUNK] = (covered / union).T
    return iou


def compare(
    labels: np.ndarray, count: int, cells: Sequence[dict], crowds: Sequence[dict] = ()
) -> Comparison:
    """Compare non-overlapping predictions with the true masks of one image.

    A prediction of which more than half lies in crowd regions is not counted.

    Args:
        labels: int32 [height, width], see `masks.label_image`.
        count: number of predictions, those without pixels included.
        cells: RLEs of the true cells, none of them empty.
        crowds: RLEs of crowd regions.
    """
    counted = np.ones(count, bool)
    if crowds:
        regions = coco_mask.merge(list(crowds))
        inside = np.bincount(labels[coco_mask.decode(regions).astype(bool)], minlength=count + 1)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        counted = ~(inside > 0.5 * areas)[1:]
    return Comparison(iou_with_label_image(labels, count, cells), counted)


def score_image(
    labels: np.ndarray, count: int, cells: Sequence[dict], crowds: Sequence[dict] = ()
) -> ImageScore:
    """TP, FP and FN of one image; the arguments are those of `compare`.

    A prediction and a truth match when their IoU is larger than the threshold. TP are predictions
    that match exactly one truth, FP predictions that match none (also those without pixels), FN
    truths that no prediction matches (the scoring code of the 2018 Data Science Bowl, which the
    competition uses). Predictions in crowd regions count as neither.
    """
    return compare(labels, count, cells, crowds).score()


def count_matches(iou: np.ndarray) -> ImageScore:
    """TP, FP and FN at each threshold from the IoU of every prediction with every truth [N, M]."""
    by_confidence = count_matches_by_confidence(iou, np.zeros(len(iou)), np.zeros(1))
    return ImageScore(by_confidence.tp[:, 0], by_confidence.fp[:, 0], by_confidence.fn[:, 0])


def count_matches_by_confidence(
    iou: np.ndarray, scores: np.ndarray, confidences: np.ndarray
) -> ImageScore:
    """What `count_matches` would give for the predictions whose score reaches each confidence.

    Overlaps need not be resolved again: a pixel belongs to the highest score there, so leaving out
    lower scores changes neither the pixels nor the IoU of the others.

    Args:
        iou: float64 [N, M] with overlaps resolved among all N predictions.
        scores: float [N].
        confidences: [G], of the same dtype as the scores.

    Returns:
        Counts int64 [10, G].
    """

    def reaching(values: np.ndarray) -> np.ndarray:
        return len(values) - np.searchsorted(np.sort(values), confidences, side="left")

    candidates = np.nonzero(iou > IOU_THRESHOLDS[0])  # few of the pairs
    overlap = iou[candidates]
    tp, fp, fn = [], [], []
    for threshold in IOU_THRESHOLDS:
        predictions, truths = (index[overlap > threshold] for index in candidates)
        of_prediction = np.bincount(predictions, minlength=len(iou))
        tp.append(reaching(scores[of_prediction == 1]))
        fp.append(reaching(scores[of_prediction == 0]))
        best = np.full(iou.shape[1], -np.inf, scores.dtype)
        np.maximum.at(best, truths, scores[predictions])
        fn.append(iou.shape[1] - reaching(best[np.unique(truths)]))
    return ImageScore(np.array(tp), np.array(fp), np.array(fn))


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
    labels = label_image(instances)
    return compare(labels, len(instances), record.cell_rles, record.crowd_rles)


def image_result(record: AnnotatedImage, comparison: Comparison) -> ImageResult:
    """Sum up one image."""
    return ImageResult(
        image=record.id,
        cell_type=record.cell_type,
        cells=int((~record.iscrowd).sum()),
        predictions=len(comparison.counted),
        score=comparison.score(),
    )


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
