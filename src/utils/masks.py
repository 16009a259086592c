"""Masks as crops, run-length encodings (RLE) and label images: conversion, IoU and NMS.

RLE is the COCO format of pycocotools: {"size": [height, width], "counts": bytes or str}.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from utils.instances import Instances

MASK_THRESHOLD = 0.5  # a pixel is foreground when its probability is at least this


def binary_crops(instances: Instances, threshold: float = MASK_THRESHOLD) -> list[np.ndarray]:
    """Foreground of each crop, N boolean arrays [h, w]."""
    return [mask >= threshold for mask in instances.masks]


def paste(crop: np.ndarray, offset: Sequence[int], image_size: tuple[int, int]) -> np.ndarray:
    """Put one crop [h, w] into a zero frame [height, width] of the same dtype."""
    frame = np.zeros(image_size, crop.dtype)
    x, y = offset
    frame[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
    return frame


def paste_probabilities(
    probabilities: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Resample mask grids over their boxes to image pixels, as crops.

    Bilinear at pixel centres with zeros around the grid, which is what `grid_sample` with
    align_corners=False gives on the full frame (Mask R-CNN's pasting in detectron2 and mmdet);
    bilinear interpolation is separable, so that a crop is two small matrix products.

    Args:
        probabilities: float32 [N, S, S], grid over each box.
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels.
        image_size: (height, width) in pixels.

    Returns:
        N arrays float32 [h, w], and their offsets int64 [N, 2] (x, y).
    """
    height, width = image_size
    # one pixel around the box: half a grid cell reaches out of it
    low = np.floor(boxes[:, :2]).astype(np.int64) - 1
    high = np.ceil(boxes[:, 2:]).astype(np.int64) + 1
    limit = np.array([width, height])
    low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
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


def encode(mask: np.ndarray) -> dict:
    """RLE of one binary mask [height, width]; `counts` is str, so that it can go into JSON."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def to_rles(instances: Instances, threshold: float = MASK_THRESHOLD) -> list[dict]:
    """RLE of each instance's foreground in the frame of the image."""
    # one frame for all, in the order of memory that pycocotools reads
    frame = np.zeros(instances.image_size, np.uint8, order="F")
    rles = []
    for crop, (x, y) in zip(binary_crops(instances, threshold), instances.offsets, strict=True):
        window = frame[y : y + crop.shape[0], x : x + crop.shape[1]]
        window[:] = crop
        rles.append(encode(frame))
        window[:] = 0
    return rles


def rle_areas(rles: Sequence[dict]) -> np.ndarray:
    """Foreground pixels of each mask, int64 [N]."""
    # One by one: given a list, pycocotools 2.0.11 fails on more than 255 masks with numpy 2.
    return np.array([coco_mask.area(rle) for rle in rles], np.int64)


def rle_iou(first: Sequence[dict], second: Sequence[dict]) -> np.ndarray:
    """IoU over pixels of every pair, float64 [N, M]; an empty mask has IoU 0 with everything."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    iou = coco_mask.iou(list(first), list(second), [0] * len(second))
    return np.nan_to_num(iou)


def mask_nms(rles: Sequence[dict], scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy mask NMS over all classes: an IoU >= the threshold with a kept instance drops one.

    Empty masks go too. Sorts by itself; ties keep their order.

    Args:
        rles: N masks of one image.
        scores: float [N].
        iou_threshold: in (0, 1].

    Returns:
        Indices of the kept instances, int64 [K], highest score first.
    """
    iou = rle_iou(rles, rles)
    alive = rle_areas(rles) > 0
    kept = []
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        if alive[i]:
            kept.append(i)
            alive &= iou[i] < iou_threshold
    return np.array(kept, np.int64)


def label_image(instances: Instances, threshold: float = MASK_THRESHOLD) -> np.ndarray:
    """Resolve overlaps: each pixel belongs to the instance of the highest score that covers it.

    Returns:
        int32 [height, width]: 0 background, i + 1 for instance i.
    """
    labels = np.zeros(instances.image_size, np.int32)
    crops = binary_crops(instances, threshold)
    for i in np.argsort(-instances.scores, kind="stable")[::-1]:
        (x, y), crop = instances.offsets[i], crops[i]
        labels[y : y + crop.shape[0], x : x + crop.shape[1]][crop] = i + 1
    return labels
