"""What a checkpoint is to know of its training images: grey values, scale, size of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cells.annotations import AnnotatedImage
from cells.grey import GreyRule
from cells.images import read_image, training_rule
from cells.rle import rle_areas
from network.scale import median_diameters, with_training_scale

SAMPLE = 64  # images that mean and deviation of the grey values are estimated from
RULE_SAMPLE = 512  # ... and the range that their background and contrast have


def describe_data(
    inference: Mapping, records: Sequence[AnnotatedImage], class_names: Sequence[str]
) -> dict:
    """`inference` of a config, completed by what the training data say.

    Args:
        inference: `grey` is made from the images where it is not there or None, `pixel_mean` and
            `pixel_std` are estimated where they are None.
        records: training images, at least one.
        class_names: by label.
    """
    inference = dict(inference)
    if not inference.get("grey"):
        step = max(1, len(records) // RULE_SAMPLE)
        rule = training_rule([record.path for record in records[::step]])
        inference["grey"] = rule.to_dict()
    if inference["pixel_mean"] is None or inference["pixel_std"] is None:
        mean, std = grey_statistics(records, GreyRule.from_dict(inference["grey"]))
        inference.update(pixel_mean=mean, pixel_std=std)
    size = np.median([record.image_size for record in records], axis=0).round().astype(int)
    cells = [rle for record in records for rle in record.cell_rles]
    labels = [record.labels[~record.iscrowd] for record in records]
    diameters = median_diameters(rle_areas(cells), np.concatenate(labels), class_names)
    return with_training_scale(inference, size.tolist(), diameters)


def grey_statistics(
    records: Sequence[AnnotatedImage], rule: GreyRule
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation over the pixels of evenly spaced images, blue green red.

    Each image counts alike, whatever its size.
    """
    step = max(1, len(records) // SAMPLE)
    images = [read_image(record.path, rule).reshape(-1, 3) for record in records[::step]]
    means = np.array([image.mean(axis=0) for image in images])
    squares = np.array([image.var(axis=0) for image in images]) + means**2
    mean = means.mean(axis=0)
    std = np.sqrt(np.maximum(squares.mean(axis=0) - mean**2, 1.0))
    return mean.round(3).tolist(), std.round(3).tolist()
