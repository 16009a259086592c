"""Annotated images with predictions that are partly right, for tests of the 2nd level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers import CLASS_NAMES

from cells.annotations import AnnotationSet, annotation_file, load_annotations
from cells.instances import Instances
from cells.rle import rle_crop
from second_level.predictions import (
    ImagePredictions,
    prediction_path,
    write_predictions,
)


def truth_of(folder: Path) -> AnnotationSet:
    return load_annotations(annotation_file(folder / "annotations", "valid", 0), folder / "images")


def predictions_of(truth: AnnotationSet, image: int, rng: np.random.Generator) -> Instances:
    """Each true cell well found with a low score, and a false mask beside it with a high one."""
    record = truth.images[image]
    masks, offsets, scores = [], [], []
    for rle in record.rles:
        crop, (x, y) = rle_crop(rle)
        masks += [crop * np.float32(0.9), np.full((4, 11), 0.6, np.float32)]
        offsets += [(x, y), (min(x + 12, 100), max(y - 3, 0))]
        scores += [rng.uniform(0.5, 0.8), rng.uniform(0.7, 0.99)]
    sizes = np.array([mask.shape[::-1] for mask in masks])
    return Instances(
        image_size=record.image_size,
        boxes=np.concatenate([offsets, offsets + sizes], axis=1).astype(np.float32),
        scores=np.array(scores, np.float32),
        labels=np.repeat(record.labels, 2),
        masks=masks,
        offsets=np.array(offsets, np.int64),
    ).sorted_by_score()


def write_all(truth: AnnotationSet, folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i, record in enumerate(truth.images):
        instances = predictions_of(truth, i, rng)
        predictions = ImagePredictions(record.id, str(record.path), CLASS_NAMES, instances)
        write_predictions(prediction_path(folder, record.id), predictions)


def one_instance() -> Instances:
    mask = np.ones((1, 3), np.float32)
    box = np.array([[0, 0, 3, 1]], np.float32)
    ones = np.ones(1, np.float32)
    return Instances((9, 9), box, ones, np.zeros(1, np.int64), [mask], np.zeros((1, 2), np.int64))
