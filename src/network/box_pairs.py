"""Overlaps of many boxes with many others, in little memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torchvision.ops import box_iou

BLOCK = 2**22  # pairs of boxes at a time; bounds the memory


def iou_blocks(boxes: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """IoU of each box with each of the others.

    Args:
        boxes: float32 [N, 4], x1 y1 x2 y2.
        others: float32 [M, 4], M > 0.

    Yields:
        Some of the N boxes, and their IoU float32 [n, M].
    """
    step = max(1, BLOCK // len(others))
    for start in range(0, len(boxes), step):
        part = slice(start, start + step)
        yield part, box_ious(boxes[part], others)


def box_ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of every pair, float32 [N, M], of boxes float32 [N, 4] and [M, 4], x1 y1 x2 y2."""
    return box_iou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()
