"""How far the views of an ensemble agree on what it found: features of the second level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cells.instances import Boxes
from cells.masks import MASK_THRESHOLD
from network.box_pairs import iou_blocks

SAME_BOX_IOU = 0.5  # from which on a view's box is of the same cell


def box_agreement(boxes: Boxes, views: Sequence[Boxes]) -> np.ndarray:
    """What each view says about merged boxes.

    Args:
        boxes: N merged ones.
        views: all boxes that each view detected.

    Returns:
        float32 [N, 3]: share of the views with a box of the same cell; mean and least over the
        views of the best score of such a box, 0 where there is none.
    """
    best = [_best_scores(boxes.boxes, view) for view in views]
    scores = np.stack(best, axis=1)
    return np.stack([(scores > 0).mean(axis=1), scores.mean(axis=1), scores.min(axis=1)], axis=1)


def _best_scores(boxes: np.ndarray, view: Boxes) -> np.ndarray:
    """Highest score of a view's box of the same cell, float32 [N]."""
    best = np.zeros(len(boxes), np.float32)
    if not len(view):
        return best
    for part, iou in iou_blocks(boxes, view.boxes):
        best[part] = np.where(iou >= SAME_BOX_IOU, view.scores, 0).max(axis=1)
    return best


def mask_agreement(
    means: Sequence[np.ndarray], views: Sequence[Sequence[np.ndarray]]
) -> np.ndarray:
    """How far each view's masks are the mean ones.

    Args:
        means: N crops of probabilities, averaged over the views.
        views: the crops of each view.

    Returns:
        float32 [N, 2]: mean and least over the views of the IoU with the mean mask; 0 where both
        are empty.
    """
    ious = np.array(
        [_ious(mean, crops) for mean, *crops in zip(means, *views, strict=True)], np.float32
    ).reshape(len(means), len(views))
    return np.stack([ious.mean(axis=1), ious.min(axis=1)], axis=1)


def _ious(mean: np.ndarray, crops: Sequence[np.ndarray]) -> list[float]:
    """IoU of the foreground of one crop with that of others of its size."""
    inside = mean >= MASK_THRESHOLD
    area = np.count_nonzero(inside)
    found = []
    for crop in crops:
        other = crop >= MASK_THRESHOLD
        shared = np.count_nonzero(inside & other)
        union = area + np.count_nonzero(other) - shared
        found.append(shared / union if union else 0.0)
    return found
