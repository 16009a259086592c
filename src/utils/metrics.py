"""The competition's metric: mean over images of the average precision over ten IoU thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

IOU_THRESHOLDS = np.arange(50, 100, 5) / 100  # 0.50, 0.55 ... 0.95


@dataclass(frozen=True)
class ImageScore:
    """Counts of one image at each of the ten IoU thresholds, int64 [10]."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @property
    def precisions(self) -> np.ndarray:
        """TP / (TP + FP + FN) at each threshold, float64 [10]; 1 where there is nothing at all."""
        total = self.tp + self.fp + self.fn
        return np.where(total > 0, self.tp / np.maximum(total, 1), 1.0)

    @property
    def ap(self) -> float:
        """Average precision of the image: mean over the thresholds."""
        return float(self.precisions.mean())


def iou_with_label_image(labels: np.ndarray, count: int, rles: Sequence[dict]) -> np.ndarray:
    """IoU over pixels of non-overlapping predictions with true masks, which may overlap.

    Args:
        labels: int32 [height, width], 0 background, i + 1 for prediction i.
        count: number N of predictions; one that overlaps emptied has IoU 0 with everything.
        rles: M true masks.

    Returns:
        float64 [N, M].
    """
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    iou = np.zeros((count, len(rles)))
    for column, rle in enumerate(rles):
        x, y, w, h = coco_mask.toBbox(rle).astype(int)
        mask = coco_mask.decode(rle)[y : y + h, x : x + w].astype(bool)
        covered = np.bincount(labels[y : y + h, x : x + w][mask], minlength=count + 1)[1:]
        iou[:, column] = covered / (areas + mask.sum() - covered)
    return iou


def score_image(
    labels: np.ndarray, count: int, rles: Sequence[dict], iscrowd: np.ndarray | None = None
) -> ImageScore:
    """Compare non-overlapping predictions with the true masks of one image.

    A prediction and a truth match when their IoU is larger than the threshold. TP are predictions
    that match exactly one truth, FP predictions that match none, FN truths that no prediction
    matches (the scoring code of the 2018 Data Science Bowl, which the competition uses). A
    prediction of which more than half lies in crowd regions counts as neither.

    Args:
        labels: int32 [height, width], see `masks.label_image`.
        count: number of predictions; those without pixels count as FP.
        rles: true masks.
        iscrowd: bool, one for each true mask; default none.
    """
    crowd = np.zeros(len(rles), bool) if iscrowd is None else iscrowd
    iou = iou_with_label_image(
        labels, count, [r for r, c in zip(rles, crowd, strict=True) if not c]
    )
    if crowd.any():
        regions = coco_mask.merge([r for r, c in zip(rles, crowd, strict=True) if c])
        inside = np.bincount(labels[coco_mask.decode(regions).astype(bool)], minlength=count + 1)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        iou = iou[~(inside > 0.5 * areas)[1:]]
    return count_matches(iou)


def count_matches(iou: np.ndarray) -> ImageScore:
    """TP, FP and FN at each threshold from the IoU of every prediction with every truth [N, M]."""
    matches = iou[None] > IOU_THRESHOLDS[:, None, None]  # [10, N, M]
    of_prediction, of_truth = matches.sum(axis=2), matches.sum(axis=1)
    return ImageScore(
        tp=(of_prediction == 1).sum(axis=1),
        fp=(of_prediction == 0).sum(axis=1),
        fn=(of_truth == 0).sum(axis=1),
    )


def mean_ap(scores: Sequence[ImageScore]) -> float:
    """The competition's score: mean over images of their average precision."""
    return float(np.mean([score.ap for score in scores]))
