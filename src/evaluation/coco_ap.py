"""COCO's average precision of boxes and masks, with pycocotools' own evaluator.

The evaluator is fed image by image, and of each image only scores and match flags are kept: the
memory does not hold the masks of a whole data set. COCO's usual limit of 100 detections an image
(`maxDets`) is lifted, because one image may show 800 cells.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pycocotools.cocoeval import COCOeval

from cells.annotations import AnnotatedImage
from cells.instances import Instances
from cells.masks import rle_areas

IOU_TYPES = ("bbox", "segm")
ANY_AREA = (0, 1e10)
UNLIMITED = 10**9

# by IoU type and class: what COCOeval.accumulate needs of one image, None without any instance
ImageMatches = Mapping[str, Sequence[dict | None]]


def match_image(
    record: AnnotatedImage,
    instances: Instances,
    rles: Sequence[dict],
    class_count: int,
    class_agnostic: bool = False,
) -> ImageMatches:
    """Match the predictions of one image with its truth at COCO's ten IoU thresholds.

    Args:
        record: the truth; crowd regions are matched as COCO does.
        instances: N predictions with labels below `class_count`.
        rles: their N masks.
        class_count: number of classes.
        class_agnostic: treat all as one class, for predictions without classes.
    """
    truth_labels = np.zeros_like(record.labels) if class_agnostic else record.labels
    found_labels = np.zeros_like(instances.labels) if class_agnostic else instances.labels
    truth = _annotations(record.boxes, truth_labels, record.rles)
    found = _annotations(instances.boxes, found_labels, rles)
    for row, crowd in zip(truth, record.iscrowd.tolist(), strict=True):
        row.update(iscrowd=int(crowd), ignore=int(crowd))
    for row, score in zip(found, instances.scores.tolist(), strict=True):
        row.update(score=score)
    classes = range(1 if class_agnostic else class_count)
    return {
        iou_type: [_match(iou_type, truth, found, label) for label in classes]
        for iou_type in IOU_TYPES
    }


def summarise_coco(matches: Sequence[ImageMatches], class_names: Sequence[str]) -> pd.DataFrame:
    """Average precision over the images, one row for each class and one for their mean.

    Args:
        matches: of all images.
        class_names: by label; empty for class-agnostic matches.

    Returns:
        Columns `bbox AP`, `bbox AP50`, `bbox AP75`, and the same of `segm`; nan without truth.
    """
    columns = {}
    for iou_type in IOU_TYPES:
        per_class = _average_precision([image[iou_type] for image in matches])  # [10, classes]
        rows = np.hstack([per_class, _mean_of_known(per_class)]) if class_names else per_class
        columns[f"{iou_type} AP"] = rows.mean(axis=0)
        columns[f"{iou_type} AP50"] = rows[0]
        columns[f"{iou_type} AP75"] = rows[5]
    return pd.DataFrame(columns, index=[*class_names, "all"])


def _annotations(boxes: np.ndarray, labels: np.ndarray, rles: Sequence[dict]) -> list[dict]:
    """Rows as COCOeval wants them; ids start at 1, since 0 means no match there."""
    widths_heights = boxes[:, 2:] - boxes[:, :2]
    return [
        {"id": i + 1, "category_id": label, "bbox": box, "segmentation": rle, "area": area}
        for i, (label, box, rle, area) in enumerate(
            zip(
                labels.tolist(),
                np.hstack([boxes[:, :2], widths_heights]).tolist(),
                rles,
                rle_areas(rles).tolist(),
                strict=True,
            )
        )
    ]


def _evaluator(iou_type: str, images: int, classes: Sequence[int]) -> COCOeval:
    evaluator = COCOeval(iouType=iou_type)
    evaluator.params.imgIds = list(range(images))
    evaluator.params.catIds = list(classes)
    evaluator.params.areaRng = [list(ANY_AREA)]
    evaluator.params.maxDets = [UNLIMITED]
    return evaluator


def _match(iou_type: str, truth: list[dict], found: list[dict], label: int) -> dict | None:
    """`COCOeval.evaluateImg` of one class, reduced to the flags that `accumulate` reads."""
    evaluator = _evaluator(iou_type, 1, [label])
    evaluator._gts[0, label] = [row for row in truth if row["category_id"] == label]
    evaluator._dts[0, label] = [row for row in found if row["category_id"] == label]
    evaluator.ious = {(0, label): evaluator.computeIoU(0, label)}
    matches = evaluator.evaluateImg(0, label, ANY_AREA, UNLIMITED)
    if matches is None:
        return None
    return {
        "dtScores": np.array(matches["dtScores"], np.float64),
        "dtMatches": matches["dtMatches"] > 0,
        "dtIgnore": matches["dtIgnore"].astype(bool),
        "gtIgnore": matches["gtIgnore"].astype(bool),
    }


def _average_precision(images: Sequence[Sequence[dict | None]]) -> np.ndarray:
    """AP at each IoU threshold for each class, float64 [10, classes]; nan for absent classes."""
    classes = range(len(images[0]))
    evaluator = _evaluator("segm", len(images), classes)  # accumulating is alike
    evaluator._paramsEval = evaluator.params
    evaluator.evalImgs = [image[k] for k in classes for image in images]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    precision = evaluator.eval["precision"][:, :, :, 0, 0].mean(axis=1)
    return np.where(precision < 0, np.nan, precision)


def _mean_of_known(per_class: np.ndarray) -> np.ndarray:
    """Mean over the classes that have truth, [10, 1]."""
    known = per_class[:, ~np.isnan(per_class[0])]
    return known.mean(axis=1, keepdims=True) if known.size else np.full((len(per_class), 1), np.nan)
