"""Where the predictions of an evaluation come from: models, or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cells.annotations import AnnotatedImage
from cells.instances import Instances
from evaluation.thresholds import CONFIDENCES
from network.ensemble import Ensemble, dominant_class
from utils.script import InputError

NO_THRESHOLD = float("-inf")


@dataclass(frozen=True)
class Found:
    """What was predicted for one image.

    Attributes:
        candidates: instances with labels in the order of the annotation file's classes; where the
            confidence threshold is searched, also those below it.
        deciding_class: the label whose threshold applies to the image.
        threshold: the least score of an instance that counts.
    """

    candidates: Instances
    deciding_class: int
    threshold: float = NO_THRESHOLD

    @property
    def instances(self) -> Instances:
        """The candidates that reach the threshold."""
        return self.candidates[self.candidates.scores >= np.float32(self.threshold)]


class ModelPredictions:
    """Predictions of an ensemble, with labels in the annotation file's order.

    Args:
        ensemble: one or more models.
        class_names: of the annotation file.
        searching: also find instances below the models' confidence thresholds.

    Raises:
        InputError: the class names are not the same, in whatever order.
    """

    def __init__(
        self, ensemble: Ensemble, class_names: Sequence[str], searching: bool = False
    ) -> None:
        if set(class_names) != set(ensemble.class_names):
            raise InputError(
                f"--weights: classes ({', '.join(ensemble.class_names)}) differ from the "
                f"annotations' ({', '.join(class_names)}); evaluate with the matching data"
            )
        self.ensemble = ensemble
        self._label_of = np.array([class_names.index(name) for name in ensemble.class_names])
        self._confidence = ensemble.post_processing.confidence
        self._low = None
        if searching:
            lowest = min(float(CONFIDENCES[0]), *self._confidence.values())
            self._low = LowConfidence(lowest)
            ensemble.post_processing = replace(ensemble.post_processing, confidence=self._low)

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> Found:
        """Segment uint8 BGR [height, width, 3]."""
        found = self.ensemble.predict(image)
        candidates = replace(found, labels=self._label_of[found.labels])
        if self._low is None:
            return Found(candidates, dominant_class(candidates.labels))
        name = self._low.asked
        threshold = self._confidence.get(name, self._confidence["default"])
        deciding = self._label_of[self.ensemble.class_names.index(name)]
        return Found(candidates, int(deciding), threshold)


class LowConfidence(dict):
    """A table of confidence thresholds that lets nearly all pass and remembers who asked.

    The class that decides on an image's threshold is the most frequent one of all boxes, also those
    that get no mask: `filter_by_confidence` knows it, and asks this table for its threshold.

    Args:
        lowest: the threshold that every class gets.
    """

    asked: str

    def __init__(self, lowest: float) -> None:
        super().__init__(default=lowest)

    def get(self, name: str, default: float | None = None) -> float:
        self.asked = name
        return self["default"]


class FilePredictions:
    """Predictions that were read from a file, or are read from a folder image by image.

    Args:
        by_image: instances by image id; what is absent has none.
        score_thr: least score of an instance that counts; default all.
    """

    def __init__(
        self, by_image: Mapping[str | int, Instances], score_thr: float | None = None
    ) -> None:
        self._by_image = by_image
        self._threshold = NO_THRESHOLD if score_thr is None else score_thr

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> Found:
        """Look the image up."""
        candidates = self._by_image[record.id]
        return Found(candidates, dominant_class(candidates.labels), self._threshold)
