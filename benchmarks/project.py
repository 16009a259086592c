"""The project's own way from an image to a picture, each stage timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from synthetic import answer_with, ellipse_logits

from cells.drawing import draw_instances
from cells.instances import Boxes, Instances
from network.agreement import box_agreement
from network.ensemble import Detections, Ensemble, load_ensemble
from network.merging import merge_boxes
from second_level.features.table import compute_features
from second_level.model import apply_iou, load_second_level, predict_iou
from utils.device import resolve_precision
from utils.stages import StageTimer

SECOND_LEVEL = Path(__file__).resolve().parents[1] / "2nd_level_model"


class Project:
    """An ensemble and the second level, which answer with `cells` after computing their own."""

    def __init__(
        self, weights: Sequence[str], cells: Boxes, precision: str, compile: bool = False
    ) -> None:
        self.ensemble = load(weights, precision, compile)
        for view in self.ensemble.views:
            answer_with(view.detector.model, cells)
        self.picture = Picture()

    def __call__(self, image: np.ndarray, timer: StageTimer) -> int:
        """Segment one image; returns the number of instances before the second level."""
        instances = self.ensemble.predict(image, timer)
        self.picture(instances, image, timer)
        return len(instances)


class AfterNetworks:
    """What follows the networks, as if two of them had found `cells`, each mask an ellipse."""

    def __init__(self, weights: Sequence[str], cells: Boxes) -> None:
        self.ensemble = load(weights, "fp32")
        self.cells = cells
        self.ellipse = ellipse_logits(28).sigmoid().numpy()
        self.picture = Picture()

    def __call__(self, image: np.ndarray, timer: StageTimer) -> int:
        """Finish one image; returns the number of instances before the second level."""
        image_size = image.shape[:2]
        with timer.stage("merge"):
            boxes = merge_boxes([self.cells, self.cells], image_size)
        grids = np.tile(self.ellipse, (len(boxes), 1, 1))
        views = box_agreement(boxes, [self.cells, self.cells])
        detections = Detections(image_size, boxes, [grids, grids], 0, 0.0, views)
        instances = self.ensemble.finish(detections, timer)
        self.picture(instances, image, timer)
        return len(instances)


class Picture:
    """The second level as in `SecondLevel.rescore`, its parts timed, and drawing."""

    def __init__(self) -> None:
        self.second_level = load_second_level(
            SECOND_LEVEL / "catboost.pkl", SECOND_LEVEL / "features.csv"
        )

    def __call__(self, instances: Instances, image: np.ndarray, timer: StageTimer) -> None:
        """Rescore and draw the instances of one image."""
        with timer.stage("features"):
            table = compute_features(instances, image, self.second_level.features)
        with timer.stage("CatBoost"):
            iou = predict_iou(self.second_level.model, table)
        with timer.stage("draw"):
            draw_instances(image, apply_iou(instances, iou, self.second_level.drop_threshold))


def load(weights: Sequence[str], precision: str, compile: bool = False) -> Ensemble:
    """An ensemble on the CPU that keeps boxes of any score."""
    device = torch.device("cpu")
    dtype = resolve_precision(precision, device)
    return load_ensemble(weights, device, dtype, score_thr=0.0, compile=compile)
