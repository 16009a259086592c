"""Precision, recall and the competition's score against the confidence threshold.

One inference pass with a low threshold serves all higher ones: mask NMS is greedy in the order of
the scores, so filtering by score after it leaves the same as filtering before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.metrics import Comparison, count_matches_by_confidence

CONFIDENCES = (np.arange(5, 100) / 100).astype(np.float32)  # as the scores: 0.05, 0.06 ... 0.99


@dataclass(frozen=True)
class ImageCurve:
    """One image at every threshold in `CONFIDENCES`.

    Attributes:
        deciding_class: the label whose threshold applies to the image.
        threshold: the one that was applied.
        ap_now: average precision of the image with it.
        ap: float64 [G], average precision with each threshold.
        counts: int64 [3, G], TP, FP and FN at IoU 0.5.
    """

    deciding_class: int
    threshold: float
    ap_now: float
    ap: np.ndarray
    counts: np.ndarray


def image_curve(
    comparison: Comparison, scores: np.ndarray, deciding_class: int, threshold: float
) -> ImageCurve:
    """Score one image at every threshold.

    Args:
        comparison: of all N candidates.
        scores: float32 [N].
        deciding_class, threshold: see `ImageCurve`.
    """
    confidences = np.append(CONFIDENCES, np.float32(threshold))
    counted = comparison.counted
    score = count_matches_by_confidence(comparison.iou[counted], scores[counted], confidences)
    ap = score.precisions.mean(axis=0)
    counts = np.stack([score.tp[0], score.fp[0], score.fn[0]])
    return ImageCurve(deciding_class, threshold, float(ap[-1]), ap[:-1], counts[:, :-1])


def best_confidence(curves: Sequence[ImageCurve], class_names: Sequence[str]) -> pd.DataFrame:
    """The threshold of each class with the best mean over images of the competition's score.

    Each image is decided by one class, so the best thresholds of the classes are the best of all
    together. Among equally good ones, the nearest to the current threshold is given.

    Returns:
        One row for each class that decides any image, and "all". Columns: images,
        current threshold (nan: none) and its mAP, best threshold and its mAP.
    """
    rows, best_of_all = {}, 0.0
    for label, name in enumerate(class_names):
        own = [curve for curve in curves if curve.deciding_class == label]
        if not own:
            continue
        mean = np.mean([curve.ap for curve in own], axis=0)
        best = CONFIDENCES[mean >= mean.max() - 1e-12]
        now = own[0].threshold
        rows[name] = {
            "images": len(own),
            "threshold": now if np.isfinite(now) else np.nan,
            "mAP": float(np.mean([curve.ap_now for curve in own])),
            "best threshold": round(float(best[np.abs(best - max(now, 0)).argmin()]), 2),
            "best mAP": float(mean.max()),
        }
        best_of_all += len(own) * float(mean.max())
    rows["all"] = {
        "images": len(curves),
        "mAP": float(np.mean([curve.ap_now for curve in curves])),
        "best mAP": best_of_all / len(curves),
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def precision_and_recall(curves: Sequence[ImageCurve]) -> tuple[np.ndarray, np.ndarray]:
    """Both at IoU 0.5 over all images for each threshold, float64 [G]; nan where undefined."""
    tp, fp, fn = np.sum([curve.counts for curve in curves], axis=0)
    with np.errstate(invalid="ignore"):
        return tp / (tp + fp), tp / (tp + fn)
