"""The thresholds with which a model scores best on the validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cells.annotations import AnnotatedImage
from cells.masks import MASK_THRESHOLD, drawn_at
from evaluation.evaluator import for_each_image
from evaluation.metrics import compare_instances
from evaluation.thresholds import CONFIDENCES, ImageCurve, best_confidence, image_curve
from network.tiling import TiledEnsemble

LEAST_SCORE = 0.2  # of the candidates; lower thresholds are never the best
MASK_THRESHOLDS = (0.5, 0.45, 0.55, 0.4, 0.6, 0.35, 0.3)  # of equally good ones the first


@dataclass(frozen=True)
class Selection:
    """The best thresholds, and what they score.

    Attributes:
        confidence, mask_threshold: by class name, see `PostProcessing`.
        table: by true cell type and for all images: `images` and `mAP`.
    """

    confidence: dict[str, float]
    mask_threshold: dict[str, float]
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
    curves = dict(zip(MASK_THRESHOLDS, zip(*by_image, strict=True), strict=True))
    return _choose(curves, records, ensemble.class_names, ensemble.post_processing.confidence)


def _choose(
    curves: Mapping[float, Sequence[ImageCurve]],
    records: Sequence[AnnotatedImage],
    class_names: Sequence[str],
    present: Mapping[str, float],
) -> Selection:
    """The best pair of thresholds of each class that decides about an image.

    Args:
        curves: of all images by the mask threshold.
        records: the images.
        class_names: by label.
        present: confidence by class name, which other classes keep.
    """
    tables = {threshold: best_confidence(own, class_names) for threshold, own in curves.items()}
    confidence, masks = dict(present), {"default": MASK_THRESHOLD}
    deciding = [class_names[curve.deciding_class] for curve in next(iter(curves.values()))]
    for name in dict.fromkeys(deciding):
        reached = {threshold: table.loc[name, "best mAP"] for threshold, table in tables.items()}
        masks[name] = max(reached, key=reached.get)
        confidence[name] = float(tables[masks[name]].loc[name, "best threshold"])
    chosen = [curves[masks[name]][i] for i, name in enumerate(deciding)]
    columns = np.searchsorted(CONFIDENCES, np.float32([confidence[name] for name in deciding]))
    scores = np.array([curve.ap[column] for curve, column in zip(chosen, columns, strict=True)])
    types = [record.cell_type for record in records]
    groups = {name: np.equal(types, label) for label, name in enumerate(class_names)}
    groups["all"] = np.ones(len(records), bool)
    rows = {
        name: {"images": int(own.sum()), "mAP": float(scores[own].mean())}
        for name, own in groups.items()
        if own.any()
    }
    return Selection(confidence, masks, pd.DataFrame.from_dict(rows, orient="index"))
