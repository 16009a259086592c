"""Where the predictions of an evaluation come from: models, or a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cells.annotations import AnnotatedImage
from cells.instances import Candidates, Instances
from evaluation.thresholds import CONFIDENCES
from network.ensemble import Ensemble, dominant_class
from utils.script import InputError

NO_THRESHOLD = float("-inf")


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
        self._least_score = float(CONFIDENCES[0]) if searching else math.inf

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> Candidates:
        """Segment uint8 BGR [height, width, 3]."""
        found = self.ensemble.candidates(image, self._least_score)
        return Candidates(
            replace(found.instances, labels=self._label_of[found.instances.labels]),
            int(self._label_of[found.deciding_class]),
            found.threshold,
        )


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

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> Candidates:
        """Look the image up."""
        instances = self._by_image[record.id]
        return Candidates(instances, dominant_class(instances.labels), self._threshold)
