"""Predicting and measuring annotated images, one in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch.distributed as dist
from tqdm import tqdm

from cells.annotations import AnnotatedImage, AnnotationSet, read_ahead
from cells.grey import AS_STORED, GreyRule
from cells.instances import Candidates, Instances
from evaluation.coco_ap import result_rows
from evaluation.label_offsets import label_offsets
from evaluation.metrics import ImageResult, compare_instances, image_result
from evaluation.pictures import write_error_picture
from evaluation.thresholds import ImageCurve, image_curve

T = TypeVar("T")
Source = Callable[[AnnotatedImage, np.ndarray], Candidates]
Rescore = Callable[[Instances, np.ndarray], Instances]  # also takes the uint8 BGR image


@dataclass(frozen=True)
class ImageEvaluation:
    """What is kept of one image: figures and COCO rows, no decoded masks.

    Attributes:
        result: competition metric.
        before: the same before rescoring, where there is any.
        curve: scores against the confidence threshold, before rescoring.
        coco_rows: final predictions, see `coco_ap.result_rows`.
        label_offsets: of the true cells that they find.
    """

    result: ImageResult
    before: ImageResult | None
    curve: ImageCurve
    coco_rows: list[dict]
    label_offsets: np.ndarray


class Evaluator:
    """Predicts and measures image after image.

    Args:
        source: predictions of an image.
        truth: the annotation file.
        rescore: applied to the predictions that reach the source's threshold.
        detection_share: of the models' own threshold that the source lets pass for the rescoring.
        show_dir: folder for pictures of the final predictions.
    """

    def __init__(
        self,
        source: Source,
        truth: AnnotationSet,
        rescore: Rescore | None = None,
        show_dir: Path | None = None,
        detection_share: float = 1.0,
    ) -> None:
        self.source = source
        self.truth = truth
        self.rescore = rescore
        self.show_dir = show_dir
        self.detection_share = detection_share

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> ImageEvaluation:
        """Evaluate one image, uint8 BGR [height, width, 3]."""
        reaching = self.source(record, image)
        found = replace(reaching, threshold=reaching.threshold / self.detection_share)
        comparison = compare_instances(found.instances, record)
        curve = image_curve(
            comparison, found.instances.scores, found.deciding_class, found.threshold
        )
        instances = found.kept if found.unlowered is None else found.unlowered
        before = None
        if len(instances) < len(found.instances) or found.unlowered is not None:
            comparison = compare_instances(instances, record)
        if self.rescore is not None:
            before = image_result(record, comparison)
            instances = self.rescore(reaching.kept, image)
            comparison = compare_instances(instances, record)
        if self.show_dir is not None:
            write_error_picture(self.show_dir, image, record, instances, comparison)
        return ImageEvaluation(
            result=image_result(record, comparison),
            before=before,
            curve=curve,
            coco_rows=result_rows(record, instances, self.truth.category_ids),
            label_offsets=label_offsets(instances, record, comparison),
        )


def for_each_image(
    evaluate_image: Callable[[AnnotatedImage, np.ndarray], T],
    records: Sequence[AnnotatedImage],
    rank: int = 0,
    world: int = 1,
    grey_rule: GreyRule = AS_STORED,
) -> list[T]:
    """Apply a function to every image; the processes of a distributed run share the images.

    Args:
        evaluate_image: what it returns is kept for all images, so it should be small; in a
            distributed run it must be picklable.
        records: annotated images, the same in every process.
        rank, world: number of this process and of all; process r takes images r, r + world ...
        grey_rule: how the images are read, see `read_image`.

    Returns:
        One entry for each record, in their order, in every process.
    """
    own = records[rank::world]
    bar = tqdm(read_ahead(own, grey_rule), total=len(own), desc="evaluating", disable=rank > 0)
    mine = [evaluate_image(record, image) for record, image in bar]
    shares = [mine] * world
    if world > 1:
        dist.all_gather_object(shares, mine)
    return [shares[i % world][i // world] for i in range(len(records))]
