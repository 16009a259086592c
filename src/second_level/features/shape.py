"""Features of an instance's own box, outline and mask probabilities.

Formulas follow the solution's (see `features.table`); "new" marks columns that it does not have.
"""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from second_level.features.base import FeatureGroup, MeasuredInstances, columns, quantile, ratio

BOX = (
    "box_score",
    "mask_area",
    "box_area",
    "box_x1",
    "box_y1",
    "box_x2",
    "box_y2",
    "width",
    "height",
    "aspect_ratio",
    "extent",
)
OUTLINE = (
    "num_contours",
    "centroid_x",
    "centroid_y",
    "equi_diameter",
    "hull_area",
    "solidity",
    "is_convex",
    "perimeter",
    "compactness",  # new
)
ELLIPSE = ("rotation_ang", "major_axis_length", "minor_axis_length")
PIXEL_SCORES = tuple(
    f"{name}_pixel_score" for name in ("min", "max", "median", "mean", "q1", "q3", "std")
)
CERTAINTY = ("mask_mean_score", "mask_stability", "mask_entropy", "mask_soft_ratio")  # new
PLACE = ("box_mask_iou", "border_distance")  # new
CONTEXT = ("instance_count", "cell_type")
STANDING = ("score_rank", "area_to_median", "class_share")  # new


def box_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Box in pixels, its sides and area, and how much of it the mask fills."""
    boxes = measured.instances.boxes.astype(np.float64)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return {
        "box_score": measured.instances.scores,
        "mask_area": measured.areas,
        "box_area": width * height,
        **{f"box_{side}": boxes[:, i] for i, side in enumerate(("x1", "y1", "x2", "y2"))},
        "width": width,
        "height": height,
        "aspect_ratio": ratio(width, height),
        "extent": ratio(measured.areas, width * height),
    }


def outline_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Measures of the polygon through the border pixels' centres, of a mask's largest piece.

    NaN where there is no mask, and for the ratios of an outline that encloses nothing.
    """
    missing = [np.nan] * 4
    rows = []
    for pieces in measured.outlines:
        if not pieces:
            rows.append(missing)
            continue
        hull = cv2.contourArea(cv2.convexHull(pieces[0]))
        rows.append(
            [
                cv2.contourArea(pieces[0]),
                hull,
                cv2.isContourConvex(pieces[0]),
                cv2.arcLength(pieces[0], closed=True),
            ]
        )
    area, hull_area, is_convex, perimeter = columns(range(4), rows).values()
    centroids = np.where(measured.areas[:, None] > 0, measured.centroids, np.nan)
    return {
        "num_contours": np.array([len(pieces) for pieces in measured.outlines]),
        "centroid_x": centroids[:, 0],
        "centroid_y": centroids[:, 1],
        "equi_diameter": np.sqrt(4 * area / np.pi),
        "hull_area": hull_area,
        "solidity": ratio(area, hull_area),
        "is_convex": is_convex,
        "perimeter": perimeter,
        "compactness": ratio(4 * np.pi * area, perimeter**2),
    }


def ellipse_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Angle in degrees and axes in pixels of the ellipse fitted to the outline.

    As in the reference, OpenCV's first axis, the shorter one, is called the major one. NaN where
    the outline has less than the five corners that a fit needs.
    """
    rows = []
    for pieces in measured.outlines:
        row = [np.nan] * 3
        if pieces and len(pieces[0]) >= 5:
            _, axes, angle = cv2.fitEllipse(pieces[0])
            if np.isfinite([angle, *axes]).all():
                row = [angle, *axes]
        rows.append(row)
    return columns(ELLIPSE, rows)


def pixel_score_features(
    measured: MeasuredInstances, names: Collection[str]
) -> dict[str, np.ndarray]:
    """Statistics of the mask probabilities over all pixels where they are above 0.

    As PyTorch computes them in the reference: the median is the lower one of two middle values, the
    standard deviation is the sample's (divided by n - 1).
    """
    rows = []
    for mask in measured.instances.masks:
        values = np.sort(mask[mask > 0])
        if not len(values):
            rows.append([np.nan] * len(PIXEL_SCORES))
            continue
        rows.append(
            [
                values[0],
                values[-1],
                values[(len(values) - 1) // 2],
                values.mean(dtype=np.float64),
                quantile(values, 0.25),
                quantile(values, 0.75),
                values.std(ddof=1, dtype=np.float64) if len(values) > 1 else np.nan,
            ]
        )
    return columns(PIXEL_SCORES, rows)


def certainty_features(
    measured: MeasuredInstances, names: Collection[str]
) -> dict[str, np.ndarray]:
    """How sure the models are of the mask; models that disagree give middling probabilities.

    Mean probability within the mask; number of pixels above 0.7 divided by those above 0.3; mean
    binary entropy in bits over the probabilities above 0; sum of all probabilities divided by area.
    """
    rows = []
    for mask in measured.instances.masks:
        values = mask[mask > 0]
        inside = values[values >= 0.5]
        area, reach = len(inside), np.count_nonzero(values >= 0.3)
        open_ends = np.clip(values, 1e-6, 1 - 1e-6)
        entropy = -open_ends * np.log2(open_ends) - (1 - open_ends) * np.log2(1 - open_ends)
        rows.append(
            [
                inside.mean(dtype=np.float64) if area else np.nan,
                np.count_nonzero(values >= 0.7) / reach if reach else np.nan,
                entropy.mean(dtype=np.float64) if len(values) else np.nan,
                values.sum(dtype=np.float64) / area if area else np.nan,
            ]
        )
    return columns(CERTAINTY, rows)


def place_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """IoU of the predicted box with the mask's own, and pixels from the mask to the image's edge.

    A cell at the edge is cut off, so that its box and its mask are less certain.
    """
    boxes, own = measured.instances.boxes.astype(np.float64), measured.extents
    low, high = np.maximum(boxes[:, :2], own[:, :2]), np.minimum(boxes[:, 2:], own[:, 2:])
    common = np.maximum(high - low, 0).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (boxes, own)]
    height, width = measured.instances.image_size
    distances = np.concatenate([own[:, :2], np.array([width, height]) - own[:, 2:]], axis=1)
    return {
        "box_mask_iou": ratio(common, areas[0] + areas[1] - common),
        "border_distance": np.where(measured.areas > 0, distances.min(axis=1), np.nan),
    }


def context_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """The same for all instances: their number, and the most frequent predicted class."""
    labels = measured.instances.labels
    return {
        "instance_count": np.full(len(measured), len(measured)),
        "cell_type": np.full(len(measured), np.bincount(labels).argmax() if len(measured) else 0),
    }


def standing_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """How an instance compares with the others of its image.

    Share of instances with a higher score, area divided by the median area, share of instances of
    the same class.
    """
    count = len(measured)
    if not count:
        return {name: np.zeros(0) for name in STANDING}
    scores, labels = measured.instances.scores, measured.instances.labels
    higher = count - np.searchsorted(np.sort(scores), scores, side="right")
    return {
        "score_rank": higher / count,
        "area_to_median": ratio(measured.areas, np.median(measured.areas)),
        "class_share": np.bincount(labels)[labels] / count,
    }


GROUPS = (
    FeatureGroup(BOX, box_features),
    FeatureGroup(CONTEXT, context_features),
    FeatureGroup(OUTLINE, outline_features),
    FeatureGroup(ELLIPSE, ellipse_features),
    FeatureGroup(PIXEL_SCORES, pixel_score_features),
    FeatureGroup(CERTAINTY, certainty_features),
    FeatureGroup(PLACE, place_features),
    FeatureGroup(STANDING, standing_features),
)
