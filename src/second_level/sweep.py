"""Which instances to drop: drop thresholds tried on images that the model was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cells.annotations import AnnotatedImage
from cells.instances import Instances
from evaluation.metrics import compare_instances, count_matches_by_confidence
from second_level.fitting import TrainingSet
from second_level.model import apply_iou
from second_level.predictions import read_predictions

SWEEP = np.arange(0, 70, 5) / 100  # drop thresholds that are tried


@dataclass(frozen=True)
class Sweep:
    """Competition AP of I tested images by drop threshold (G of them).

    Attributes:
        thresholds: of the predicted IoU, ascending.
        images: int64 [I], positions in `TrainingSet.records`.
        before: float64 [I], without a second level, at the models' own thresholds.
        after: float64 [I, G], with it.
        kept: int64 [I, G], instances that are not dropped.
    """

    thresholds: np.ndarray
    images: np.ndarray
    before: np.ndarray
    after: np.ndarray
    kept: np.ndarray

    @property
    def best(self) -> float:
        """The threshold of the highest mAP; of several the lowest."""
        return float(self.thresholds[self.after.mean(axis=0).argmax()])

    def table(self) -> pd.DataFrame:
        """Indexed by threshold: `mAP`, `gain`, and `kept`, instances per image."""
        table = pd.DataFrame(
            {"mAP": self.after.mean(axis=0)}, pd.Index(self.thresholds, name="threshold")
        )
        table["gain"] = table["mAP"] - self.before.mean()
        table["kept"] = self.kept.mean(axis=0)
        return table

    def honest_gain(self, parts: Sequence[np.ndarray]) -> float:
        """Gain in mAP where each part's threshold is the best one of the other parts.

        Args:
            parts: positions of images, as in `images`; NaN is the answer for fewer than two.
        """
        if len(parts) < 2:
            return float("nan")
        gains = []
        for part in parts:
            own = np.isin(self.images, part)
            chosen = self.after[~own].mean(axis=0).argmax()
            gains.append(self.after[own, chosen] - self.before[own])
        return float(np.concatenate(gains).mean())


def sweep_drop_thresholds(
    data: TrainingSet, predicted: np.ndarray, thresholds: Sequence[float] = SWEEP
) -> Sweep:
    """Measure the tested images with and without the second level.

    Args:
        data: rows of all images.
        predicted: float64 [R], NaN for rows of images that are not tested.
        thresholds: ascending.
    """
    images = np.unique(data.image_of[~np.isnan(predicted)])
    tried = np.asarray(thresholds, np.float64)
    before, after, kept = [], [], []
    for i in images:
        found = read_predictions(data.paths[i])
        iou = predicted[data.image_of == i]
        before.append(_ap(found.kept, data.records[i]))
        after.append(_ap_by_threshold(found.instances, data.records[i], iou, tried))
        kept.append((np.clip(iou, 0, 1)[:, None] >= tried).sum(axis=0))
    return Sweep(tried, images, np.array(before), np.array(after), np.array(kept))


def _ap(instances: Instances, record: AnnotatedImage) -> float:
    return compare_instances(instances, record).score().ap


def _ap_by_threshold(
    instances: Instances, record: AnnotatedImage, iou: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Average precision after rescoring for each threshold, float64 [G]."""
    rescored = apply_iou(instances, iou, threshold=0.0)
    comparison = compare_instances(rescored, record)
    counts = count_matches_by_confidence(
        comparison.iou[comparison.counted],
        rescored.scores[comparison.counted],
        thresholds.astype(np.float32),
    )
    return counts.precisions.mean(axis=0)
