"""The thresholds with which a model scores best on the validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cells.annotations import AnnotatedImage
from cells.masks import drawn_at
from evaluation.evaluator import for_each_image
from evaluation.metrics import compare_instances
from evaluation.thresholds import CONFIDENCES, ImageCurve, best_confidence, image_curve
from network.tiling import TiledEnsemble

LEAST_SCORE = 0.2  # of the candidates; lower thresholds are never the best
MASK_THRESHOLDS = (0.5, 0.45, 0.4)  # of equally good ones the first


@dataclass(frozen=True)
class Selection:
    """The best thresholds, and what they score.

    Attributes:
        confidence: least score by class name, see `PostProcessing`.
        mask_threshold: least probability of a foreground pixel.
        table: by true cell type and for all images: `images` and `mAP`.
    """

    confidence: dict[str, float]
    mask_threshold: float
    table: pd.DataFrame

    @property
    def score(self) -> float:
        """The competition's score over all images."""
        return float(self.table.loc["all", "mAP"])


def select(
    ensemble: TiledEnsemble, records: Sequence[AnnotatedImage], rank: int = 0, world: int = 1
) -> Selection:
    """Try all thresholds on all images; the processes of a distributed run share these.

    Args:
        ensemble: of models that draw masks at a threshold of 0.5.
        records: validation images.
        rank, world: number of this process and of all.
    """

    def curves_of(record: AnnotatedImage, image: np.ndarray) -> list[ImageCurve]:
        found = ensemble.candidates(image, LEAST_SCORE)
        return [
            image_curve(
                compare_instances(drawn_at(found.instances, threshold), record),
                found.instances.scores,
                found.deciding_class,
                found.threshold,
            )
            for threshold in MASK_THRESHOLDS
        ]

    by_image = for_each_image(curves_of, records, rank, world, ensemble.grey_rule)
    present = ensemble.post_processing.confidence
    choices = [
        _choose(curves, records, ensemble.class_names, present, threshold)
        for curves, threshold in zip(zip(*by_image, strict=True), MASK_THRESHOLDS, strict=True)
    ]
    return max(choices, key=lambda choice: choice.score)


def _choose(
    curves: Sequence[ImageCurve],
    records: Sequence[AnnotatedImage],
    class_names: Sequence[str],
    present: Mapping[str, float],
    mask_threshold: float,
) -> Selection:
    best = best_confidence(curves, class_names)
    confidence = dict(present)
    for name in class_names:
        if name in best.index:
            confidence[name] = float(best.loc[name, "best threshold"])
    thresholds = np.array([confidence.get(name, confidence["default"]) for name in class_names])
    # those of classes that decide about an image are among them
    columns = np.searchsorted(CONFIDENCES, thresholds.astype(np.float32))
    scores = np.array([curve.ap[columns[curve.deciding_class]] for curve in curves])
    types = [record.cell_type for record in records]
    groups = {name: np.equal(types, label) for label, name in enumerate(class_names)}
    groups["all"] = np.ones(len(records), bool)
    rows = {
        name: {"images": int(chosen.sum()), "mAP": float(scores[chosen].mean())}
        for name, chosen in groups.items()
        if chosen.any()
    }
    return Selection(confidence, mask_threshold, pd.DataFrame.from_dict(rows, orient="index"))
