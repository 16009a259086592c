"""Masks as crops, run-length encodings (RLE) and label images: conversion, IoU and NMS.

RLE is the COCO format of pycocotools: {"size": [height, width], "counts": bytes or str}.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from cells.instances import Instances

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
    """RLE of each instance's foreground in the frame of the image, `counts` as str."""
    crops = binary_crops(instances, threshold)
    return [
        _encode_crop(crop, offset, instances.image_size)
        for crop, offset in zip(crops, instances.offsets, strict=True)
    ]


def _encode_crop(crop: np.ndarray, offset: Sequence[int], image_size: tuple[int, int]) -> dict:
    """`encode` of a pasted crop, at the cost of the crop instead of the image."""
    height, width = image_size
    columns, rows = np.nonzero(crop.T)
    pixels = (columns + offset[0]) * height + rows + offset[1]  # column by column, ascending
    last = np.flatnonzero(np.diff(pixels, append=-1) != 1)  # of each run
    first = np.concatenate([[0], last + 1])[:-1]
    edges = np.stack([pixels[first], pixels[last] + 1], axis=1).ravel()
    runs = np.diff(edges, prepend=0, append=height * width).tolist()
    if runs[-1] == 0:  # foreground to the last pixel
        runs.pop()
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


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
        (x, y), crop = instances.offsets[i], crops[i]
        place = slice(y, y + crop.shape[0]), slice(x, x + crop.shape[1])
        owners = [layer[place][crop] for layer in layers]
        if not areas[i] or _largest_iou(owners, areas, areas[i]) >= iou_threshold:
            continue
        kept.append(i)
        free = next((n for n, below in enumerate(owners) if below.max() < 0), len(layers))
        if free == len(layers):
            layers.append(np.full(instances.image_size, -1, np.int32))
        layers[free][place][crop] = i
    return np.array(kept, np.int64)


def _largest_iou(owners: Sequence[np.ndarray], areas: np.ndarray, area: int) -> float:
    """Largest IoU of an instance with others, from who owns its pixels in each layer."""
    ids, intersections = np.unique(np.concatenate([[-1], *owners]), return_counts=True)
    ids, intersections = ids[1:].astype(np.int64), intersections[1:]
    return (intersections / (area + areas[ids] - intersections)).max(initial=0)


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


def visible_crops(instances: Instances, threshold: float = MASK_THRESHOLD) -> list[np.ndarray]:
    """What `label_image` shows of each instance, without a frame: N boolean arrays [h, w].

    Pixels that an instance of a higher score covers (or an earlier one of the same score) are
    False. An instance that is covered completely has an empty crop.
    """
    crops = binary_crops(instances, threshold)
    visible = [crop.copy() for crop in crops]
    sizes = np.array([crop.shape[::-1] for crop in crops], np.int64).reshape(-1, 2)
    low, high = instances.offsets, instances.offsets + sizes
    rank = np.empty(len(crops), np.int64)
    rank[np.argsort(-instances.scores, kind="stable")] = np.arange(len(crops))
    by_left = np.argsort(low[:, 0], kind="stable")
    lefts = low[by_left, 0]
    widest = sizes[:, 0].max(initial=0)
    for i in range(len(crops)):
        # only instances that begin less than the widest one's width to the left can reach i
        first, last = np.searchsorted(lefts, (low[i, 0] - widest, high[i, 0]))
        others = by_left[first:last]
        meets = (low[others] < high[i]).all(axis=1) & (high[others] > low[i]).all(axis=1)
        for j in others[meets & (rank[others] < rank[i])]:
            start, stop = np.maximum(low[i], low[j]), np.minimum(high[i], high[j])
            mine = tuple(slice(a, b) for a, b in zip(start - low[i], stop - low[i], strict=True))
            theirs = tuple(slice(a, b) for a, b in zip(start - low[j], stop - low[j], strict=True))
            visible[i][mine[::-1]] &= ~crops[j][theirs[::-1]]
    return visible
