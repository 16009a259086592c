"""How far true masks lie beside the predictions that find them.

Single cells are off by chance, in every direction; that the median of many is off means that the
labels are, see `network/label_offset.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cells.annotations import AnnotatedImage
from cells.instances import Instances
from cells.masks import binary_crops
from cells.rle import rle_crop
from evaluation.metrics import IOU_THRESHOLDS, Comparison

NOTABLE = 0.1  # pixels; less changes no score
SURE = 4  # standard errors
MEDIAN_ERROR = np.sqrt(np.pi / 2)  # of a median, relative to that of a mean, of normal values


def label_offsets(
    instances: Instances, record: AnnotatedImage, comparison: Comparison
) -> np.ndarray:
    """Centres of true cells relative to those of the predictions that find them.

    Args:
        instances: N predictions.
        record: the truth.
        comparison: of both; an IoU over 0.5 finds a cell.

    Returns:
        float64 [K, 2], x to the right and y down, in pixels of the image.
    """
    found, true = np.nonzero(comparison.iou > IOU_THRESHOLDS[0])
    masks, rles = binary_crops(instances), record.cell_rles
    offsets = [
        _centre(*rle_crop(rles[j])) - _centre(masks[i], instances.offsets[i])
        for i, j in zip(found, true, strict=True)
    ]
    return np.reshape(offsets, (-1, 2))


def _centre(mask: np.ndarray, offset: Sequence[int]) -> np.ndarray:
    """Centre x y of a mask's pixels, float64 [2]."""
    return np.argwhere(mask)[:, ::-1].mean(axis=0) + offset


def offset_table(
    offsets: Sequence[np.ndarray], types: Sequence[int], class_names: Sequence[str]
) -> pd.DataFrame:
    """Medians by cell type and over all, x to the right and y down in pixels, with standard errors.

    Args:
        offsets: of each image what `label_offsets` gives.
        types: of each image its most frequent true class.
        class_names: by label.

    Returns:
        Columns: cells, x, y, error of x, error of y; rows only for types of which cells are found.
    """
    groups = {
        name: [own for own, of in zip(offsets, types, strict=True) if of == label]
        for label, name in enumerate(class_names)
    }
    rows = {}
    for name, group in {**groups, "all": offsets}.items():
        values = np.concatenate([np.zeros((0, 2)), *group])
        if not len(values):
            continue
        x, y = np.median(values, axis=0)
        errors = MEDIAN_ERROR * values.std(axis=0) / np.sqrt(len(values))
        rows[name] = {
            "cells": len(values),
            "x": x,
            "y": y,
            "error of x": errors[0],
            "error of y": errors[1],
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def offset_advice(table: pd.DataFrame) -> str | None:
    """What to do about an offset that is no chance; None where there is nothing to do.

    Args:
        table: see `offset_table`, with at least one row.
    """
    over_all = table.loc["all"]
    offset = over_all[["x", "y"]].to_numpy()
    errors = over_all[["error of x", "error of y"]].to_numpy()
    if not (np.abs(offset) > np.maximum(NOTABLE, SURE * errors)).any():
        return None
    x, y = offset.round(2)
    return (
        "the labels lie beside the cells; where those of the training do, "
        f"publish_model.py --label_offset {x:g} {y:g} moves to them what a model finds"
    )
