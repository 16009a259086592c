"""Everything that an evaluation measures on one image, while its masks are in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cells.annotations import AnnotatedImage, AnnotationSet
from cells.instances import Candidates, Instances
from cells.masks import to_rles
from evaluation.coco_ap import ImageMatches, match_image
from evaluation.evaluation import ImageResult, compare_instances, image_result
from evaluation.pictures import write_error_picture
from evaluation.prediction_io import ResultsWriter
from evaluation.thresholds import ImageCurve, image_curve

Source = Callable[[AnnotatedImage, np.ndarray], Candidates]
Rescore = Callable[[Instances, np.ndarray], Instances]  # takes the uint8 BGR image, too


@dataclass(frozen=True)
class Examination:
    """What is kept of one image; no masks.

    Attributes:
        result: competition metric.
        before: the same before rescoring, where there is any.
        coco: matches for COCO's average precision.
        curve: scores against the confidence threshold, before rescoring.
    """

    result: ImageResult
    before: ImageResult | None
    coco: ImageMatches
    curve: ImageCurve


class Examiner:
    """Predicts and measures image after image.

    Args:
        source: predictions of an image.
        truth: the annotation file.
        has_classes: False for predictions without classes, whose COCO AP is class-agnostic.
        rescore: applied to the predictions that reach the confidence threshold.
        writer: gets the final predictions.
        show_dir: folder for pictures of the final predictions.
    """

    def __init__(
        self,
        source: Source,
        truth: AnnotationSet,
        has_classes: bool = True,
        rescore: Rescore | None = None,
        writer: ResultsWriter | None = None,
        show_dir: Path | None = None,
    ) -> None:
        self.source = source
        self.truth = truth
        self.has_classes = has_classes
        self.rescore = rescore
        self.writer = writer
        self.show_dir = show_dir

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> Examination:
        """Examine one image, uint8 BGR [height, width, 3]."""
        found = self.source(record, image)
        comparison = compare_instances(found.instances, record)
        curve = image_curve(
            comparison, found.instances.scores, found.deciding_class, found.threshold
        )
        instances, before = found.kept, None
        if len(instances) < len(found.instances):
            comparison = compare_instances(instances, record)
        if self.rescore is not None:
            before = image_result(record, comparison)
            instances = self.rescore(instances, image)
            comparison = compare_instances(instances, record)
        rles = to_rles(instances)
        if self.writer is not None:
            self.writer.write(record, instances, rles)
        if self.show_dir is not None:
            write_error_picture(self.show_dir, image, record, instances, comparison)
        return Examination(
            result=image_result(record, comparison),
            before=before,
            coco=match_image(
                record, instances, rles, len(self.truth.class_names), not self.has_classes
            ),
            curve=curve,
        )
