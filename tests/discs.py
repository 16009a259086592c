"""Annotations and predictions of discs, for figures that are known or computed twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers import CLASS_NAMES
from pycocotools import mask as coco_mask

from cells.annotations import AnnotatedImage, AnnotationSet
from cells.instances import Instances
from cells.rle import encode, rle_crop

SIZE = (60, 80)


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def boxes_of(rles: list[dict]) -> np.ndarray:
    """Tight boxes, float32 [N, 4], x1 y1 x2 y2."""
    boxes = np.array([coco_mask.toBbox(rle) for rle in rles], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def annotated(masks: list[np.ndarray], labels=None, iscrowd=None, image_id="a") -> AnnotatedImage:
    rles = [encode(mask) for mask in masks]
    return AnnotatedImage(
        id=image_id,
        path=Path(f"{image_id}.png"),
        image_size=SIZE,
        boxes=boxes_of(rles),
        labels=np.array([0] * len(masks) if labels is None else labels, np.int64),
        rles=rles,
        iscrowd=np.array([False] * len(masks) if iscrowd is None else iscrowd, bool),
    )


def predicted(masks: list[np.ndarray], scores=None, labels=None) -> Instances:
    rles = [encode(mask) for mask in masks]
    crops = [rle_crop(rle) for rle in rles]
    return Instances(
        image_size=SIZE,
        boxes=boxes_of(rles),
        scores=np.array([1] * len(masks) if scores is None else scores, np.float32),
        labels=np.array([0] * len(masks) if labels is None else labels, np.int64),
        masks=[crop.astype(np.float32) for crop, _ in crops],
        offsets=np.array([offset for _, offset in crops], np.int64).reshape(-1, 2),
    )


def random_case(seed: int, cells: int = 12) -> tuple[AnnotatedImage, Instances]:
    """Overlapping discs and predictions near them, with classes, scores with ties, and a crowd."""
    rng = np.random.default_rng(seed)
    places = rng.uniform((0, 0, 3), (80, 60, 9), (cells, 3))
    moved = np.vstack([places + rng.normal(0, 0.7, places.shape)] * 2)[: cells + 5]
    labels = rng.integers(0, 3, len(moved))
    record = annotated(
        [disc(*place) for place in places],
        labels[:cells],
        iscrowd=np.arange(cells) == cells - 1,
        image_id=f"image{seed}",
    )
    scores = rng.integers(1, 99, len(moved)) / 100
    return record, predicted([disc(*place) for place in moved], scores, labels)


def truth_set(records: list[AnnotatedImage], category_ids=(10, 20, 30)) -> AnnotationSet:
    return AnnotationSet(CLASS_NAMES, category_ids, records)
