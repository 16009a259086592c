"""How the predictions of several models become one: boxes, masks, and what overlaps too much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torchvision.ops import batched_nms

from cells.instances import Boxes, Instances, dominant_class
from cells.masks import MASK_THRESHOLD, binary_crops, window_of
from network.agreement import mask_agreement
from network.box_pairs import iou_blocks


@dataclass(frozen=True)
class PostProcessing:
    """Thresholds of the ensemble; the defaults are the solution's.

    Attributes:
        confidence: least score of an instance by class name, `default` for other classes; which
            class's threshold applies to the whole image is decided by its most frequent detected
            class.
        box_nms_iou: class-wise box NMS when merging.
        box_voting_iou: of the boxes that move one that is kept, see `vote`; None: it stays.
        mask_nms_iou: mask NMS over all classes at the end.
        max_detections: boxes that remain after merging.
        mask_threshold: least probability of a foreground pixel by class name; applies like
            `confidence`.
    """

    confidence: Mapping[str, float]
    box_nms_iou: float = 0.99
    box_voting_iou: float | None = None
    mask_nms_iou: float = 0.1
    max_detections: int = 10_000
    mask_threshold: Mapping[str, float] = field(default_factory=lambda: {"default": MASK_THRESHOLD})


def merge_boxes(
    parts: Sequence[Boxes],
    image_size: tuple[int, int],
    iou_threshold: float = 0.99,
    max_detections: int = 10_000,
) -> Boxes:
    """Concatenate the boxes of all models, clip them to the image, and apply class-wise NMS.

    Args:
        parts: boxes of each model in original pixels.
        image_size: (height, width) in pixels.
        iou_threshold: a box goes when its IoU with a better one of its class is larger.
        max_detections: at most this many stay.

    Returns:
        Highest score first; boxes without score or extent are dropped.
    """
    merged = Boxes.concatenate(parts)
    height, width = image_size
    clipped = np.clip(merged.boxes, 0, np.array([width, height, width, height], np.float32))
    merged = replace(merged, boxes=clipped)
    extent = clipped[:, 2:] - clipped[:, :2]
    merged = merged[(merged.scores > 1e-8) & (extent > 0).all(axis=1)]
    keep = batched_nms(
        torch.from_numpy(merged.boxes),
        torch.from_numpy(merged.scores),
        torch.from_numpy(merged.labels),
        iou_threshold,
    )
    return merged[keep[:max_detections].numpy()]


def class_threshold(table: Mapping[str, float], name: str) -> float:
    """Threshold of a class in a table by class name: its own, or that of `default`."""
    return table.get(name, table["default"])


def image_threshold(
    labels: np.ndarray, class_names: Sequence[str], confidence: Mapping[str, float]
) -> tuple[int, float]:
    """The label that decides on the confidence threshold of an image, and this threshold.

    Args:
        labels: of all detections of the image; the most frequent one decides.
        class_names: by label.
        confidence: threshold by class name, see `class_threshold`.
    """
    label = dominant_class(labels)
    return label, class_threshold(confidence, class_names[label])


def filter_by_confidence(
    boxes: Boxes,
    class_names: Sequence[str],
    confidence: Mapping[str, float],
    least_score: float = math.inf,
) -> Boxes:
    """Keep boxes whose score reaches the image's threshold, see `image_threshold`.

    Args:
        boxes: all detections of the image; they decide on the threshold.
        class_names, confidence: see `image_threshold`.
        least_score: applies instead of the threshold where it is lower.
    """
    _, threshold = image_threshold(boxes.labels, class_names, confidence)
    # float32 as the scores are: a score of exactly the threshold counts
    return boxes[boxes.scores >= np.float32(min(threshold, least_score))]


def vote(boxes: Boxes, voters: Boxes, iou_threshold: float) -> Boxes:
    """Move each box to the mean of the boxes around it, weighted by their scores.

    Gidaris and Komodakis 2015, "Object detection via a multi-region & semantic segmentation-aware
    CNN model", section 4.

    Args:
        boxes: N boxes that are kept.
        voters: all boxes of all models, the N among them.
        iou_threshold: voters of a box's class vote whose IoU with it is larger.
    """
    moved = boxes.boxes.copy()
    for label in np.unique(boxes.labels):
        own = np.nonzero(boxes.labels == label)[0]
        others = voters[voters.labels == label]
        for part, iou in iou_blocks(boxes.boxes[own], others.boxes):
            weights = np.where(iou > iou_threshold, others.scores, 0)
            moved[own[part]] = weights @ others.boxes / weights.sum(axis=1, keepdims=True)
    return replace(boxes, boxes=moved)


def mean_masks(
    boxes: Boxes, probabilities: Sequence[np.ndarray], image_size: tuple[int, int]
) -> Instances:
    """Paste each model's mask probabilities into the image and average them.

    Args:
        boxes: N boxes in original pixels.
        probabilities: for each model float32 [N, S, S]; S may differ between models.
        image_size: (height, width) in pixels.
    """
    pasted = [paste_probabilities(grids, boxes.boxes, image_size) for grids in probabilities]
    views, offsets = [crops for crops, _ in pasted], pasted[0][1]
    masks = [sum(crops) / len(views) for crops in zip(*views, strict=True)]
    instances = Instances(image_size, boxes.boxes, boxes.scores, boxes.labels, masks, offsets)
    instances.agreement[:, 3:] = mask_agreement(masks, views)
    return instances


def paste_probabilities(
    probabilities: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Resample mask grids over their boxes to image pixels, as crops.

    Bilinear at pixel centres with zeros around the grid, which is what `grid_sample` with
    align_corners=False gives on the full frame (Mask R-CNN's pasting in detectron2 and mmdet);
    bilinear interpolation is separable, so that a crop is two small matrix products.

    Args:
        probabilities: float32 [N, S, S], grid over each box.
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels, inside the image.
        image_size: (height, width) in pixels.

    Returns:
        N arrays float32 [h, w], and their offsets int64 [N, 2] (x, y).
    """
    height, width = image_size
    # one pixel around the box: half a grid cell reaches beyond it
    low = np.maximum(np.floor(boxes[:, :2]).astype(np.int64) - 1, 0)
    high = np.minimum(np.ceil(boxes[:, 2:]).astype(np.int64) + 1, [width, height])
    crops = []
    for grid, box, start, stop in zip(probabilities, boxes, low, high, strict=True):
        across = _bilinear_weights(start[0], stop[0], box[0], box[2], grid.shape[1])
        down = _bilinear_weights(start[1], stop[1], box[1], box[3], grid.shape[0])
        crops.append(down @ grid @ across.T)
    return crops, low


def _bilinear_weights(
    start: int, stop: int, box_start: float, box_stop: float, cells: int
) -> np.ndarray:
    """Weight of each grid cell for the pixels start..stop, float32 [stop - start, cells]."""
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    position = (centres - box_start) / max(box_stop - box_start, 1e-6) * cells - np.float32(0.5)
    distance = np.abs(position[:, None] - np.arange(cells, dtype=np.float32))
    return np.maximum(1 - distance, 0).astype(np.float32)


def mask_nms(instances: Instances, iou_threshold: float) -> np.ndarray:
    """Greedy mask NMS over all classes: an IoU >= the threshold with a kept instance drops one.

    Empty masks go too. Sorts by itself; ties keep their order. An instance is compared with what
    its own pixels show of the kept ones, so that the time grows with the sum of the areas.

    Args:
        instances: N instances of one image.
        iou_threshold: in (0, 1].

    Returns:
        Indices of the kept instances, int64 [K], highest score first.
    """
    crops = binary_crops(instances)
    areas = np.array([np.count_nonzero(crop) for crop in crops], np.int64)
    layers: list[np.ndarray] = []  # of kept instances that do not touch each other; -1: nothing
    kept = []
    for i in np.argsort(-instances.scores, kind="stable"):
        crop = crops[i]
        window = window_of(crop, instances.offsets[i])
        owners = [layer[window][crop] for layer in layers]
        if not areas[i] or _largest_iou(owners, areas, areas[i]) >= iou_threshold:
            continue
        kept.append(i)
        free = next((n for n, below in enumerate(owners) if below.max() < 0), len(layers))
        if free == len(layers):
            layers.append(np.full(instances.image_size, -1, np.int32))
        layers[free][window][crop] = i
    return np.array(kept, np.int64)


def _largest_iou(owners: Sequence[np.ndarray], areas: np.ndarray, area: int) -> float:
    """Largest IoU of an instance with others, from who owns its pixels in each layer."""
    ids, intersections = np.unique(np.concatenate([[-1], *owners]), return_counts=True)
    ids, intersections = ids[1:].astype(np.int64), intersections[1:]
    return (intersections / (area + areas[ids] - intersections)).max(initial=0)
