"""The solution's ensemble: boxes of all models merged, mask probabilities averaged, mask NMS.

Every model's backbone runs once per image (and view): its masks come from the same feature maps as
its boxes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cells.annotations import check_same_classes
from cells.grey import mean_rule
from cells.instances import Boxes, Candidates, Instances
from cells.masks import drawn_at
from network.agreement import box_agreement
from network.descriptions import mask_thresholds
from network.detector import Detector, FeatureMaps, NetworkInput
from network.label_offset import moved_to_labels
from network.merging import (
    PostProcessing,
    class_threshold,
    filter_by_confidence,
    image_threshold,
    mask_nms,
    mean_masks,
    merge_boxes,
    vote,
)
from utils.device import keep_freed_memory
from utils.script import InputError
from utils.stages import StageTimer

ZOOMS = (1.0, 0.8, 1.25)  # of the views of --tta scale


@dataclass(frozen=True)
class View:
    """One model looking at the image as it is, or mirrored, or at another scale.

    Boxes and masks come back in the frame of the image, where its labels would lie.
    """

    detector: Detector
    flip: bool
    zoom: float

    def prepare(self, image: np.ndarray, image_scale: float = 1.0) -> NetworkInput:
        """What the network takes, see `Detector.prepare`."""
        seen = image[:, ::-1] if self.flip else image
        return self.detector.prepare(seen, image_scale * self.zoom)

    def boxes(self, features: FeatureMaps, proposals: torch.Tensor) -> Boxes:
        """Detected boxes in original pixels."""
        found = self.detector.boxes(features, proposals)
        boxes = self._mirror(found.boxes, features)
        size = features.source.image_size
        return replace(found, boxes=moved_to_labels(boxes, self._label_offset(features), size))

    def mask_probabilities(self, features: FeatureMaps, boxes: Boxes) -> np.ndarray:
        """Mask probabilities of merged boxes, float32 [N, S, S]."""
        on_cells = boxes.boxes - np.tile(self._label_offset(features), 2)
        mirrored = self._mirror(on_cells, features)
        masks = self.detector.mask_probabilities(features, mirrored, boxes.labels)
        return masks[:, :, ::-1] if self.flip else masks

    def _label_offset(self, features: FeatureMaps) -> np.ndarray:
        return self.detector.label_offset(features) * np.float32(self.zoom)

    def _mirror(self, boxes: np.ndarray, features: FeatureMaps) -> np.ndarray:
        if not self.flip:
            return boxes
        width = features.source.image_size[1]
        return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


@dataclass(frozen=True)
class Detections:
    """What the networks found in one image.

    Attributes:
        image_size: (height, width) in pixels.
        boxes: N merged boxes that reach the confidence threshold, or the score that was asked for.
        probabilities: of each view float32 [N, S, S]; none without boxes.
        deciding_class, threshold: see `Candidates`.
        agreement: of the views on the boxes, float32 [N, 3], see `box_agreement`.
    """

    image_size: tuple[int, int]
    boxes: Boxes
    probabilities: Sequence[np.ndarray]
    deciding_class: int
    threshold: float
    agreement: np.ndarray


class Ensemble:
    """One or more models whose predictions are merged.

    Args:
        detectors: models with the same class names, in any architecture.
        post_processing: thresholds; default: see `mean_rules`.
        tta: further views that are merged and averaged: `flip`, the mirrored image, and `scale`,
            the image at other `ZOOMS`; with both, each of these also mirrored.

    Attributes:
        class_names: by label.
        grey_rule: how images are to be read for the models, see `cells.images`.
        threshold_share: what the thresholds are of the models' own, see `lower_thresholds`.

    Raises:
        InputError: the class names differ.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        post_processing: PostProcessing | None = None,
        tta: Collection[str] = (),
    ) -> None:
        first = detectors[0]
        for other in detectors[1:]:
            check_same_classes(
                "--weights, a model",
                other.class_names,
                "the first model",
                first.class_names,
                same_order=True,
            )
        self.class_names = first.class_names
        self.device = first.device
        self.grey_rule = mean_rule([detector.grey_rule for detector in detectors])
        self.post_processing = post_processing or mean_rules(detectors)
        self.threshold_share = 1.0
        flips = (False, True) if "flip" in tta else (False,)
        zooms = ZOOMS if "scale" in tta else (1.0,)
        self.views = [
            View(detector, flip, zoom) for detector in detectors for zoom in zooms for flip in flips
        ]

    def predict(self, image: np.ndarray, timer: StageTimer | None = None) -> Instances:
        """Segment one image.

        Args:
            image: uint8 [height, width, 3], BGR.
            timer: collects the seconds of each stage.

        Returns:
            Instances that no longer suppress each other, highest score first.
        """
        return self.candidates(image, timer=timer).kept

    def candidates(
        self, image: np.ndarray, least_score: float = math.inf, timer: StageTimer | None = None
    ) -> Candidates:
        """Segment one image also below its confidence threshold, to try others.

        Mask NMS is greedy in the order of the scores: those of a score from any threshold on are
        what `predict` would find with it.

        Args:
            image: uint8 [height, width, 3], BGR.
            least_score: of the candidates, where it is below the image's threshold.
            timer: collects the seconds of each stage.
        """
        timer = timer or StageTimer()
        (detections,) = self.detect([self.prepare(image, timer)], timer, least_score)
        instances = self.finish(detections, timer)
        return Candidates(instances, detections.deciding_class, detections.threshold)

    def lower_thresholds(self, share: float) -> None:
        """Let instances pass from a share of the thresholds on; a second level decides on them."""
        confidence = {k: share * v for k, v in self.post_processing.confidence.items()}
        self.post_processing = replace(self.post_processing, confidence=confidence)
        self.threshold_share *= share

    def prepare(
        self, image: np.ndarray, timer: StageTimer, image_scale: float = 1.0
    ) -> list[NetworkInput]:
        """What each view's network takes.

        Args:
            image: uint8 [height, width, 3], BGR.
            timer: collects the seconds of each stage.
            image_scale: size of the image's pixels relative to those of the training images.
        """
        with timer.stage("prepare"):
            return [view.prepare(image, image_scale) for view in self.views]

    def detect(
        self,
        prepared: Sequence[Sequence[NetworkInput]],
        timer: StageTimer,
        least_score: float = math.inf,
    ) -> list[Detections]:
        """Run the networks on images of the same size; the backbones see all of them at once.

        Args:
            prepared: of each image what `prepare` returned.
            timer: collects the seconds of each stage.
            least_score: see `candidates`.
        """
        with timer.stage("backbone"):
            features = [
                view.detector.features(inputs)
                for view, inputs in zip(self.views, zip(*prepared, strict=True), strict=True)
            ]
        return [
            self._detect(of_image, timer, least_score) for of_image in zip(*features, strict=True)
        ]

    def _detect(
        self, features: Sequence[FeatureMaps], timer: StageTimer, least_score: float
    ) -> Detections:
        """Boxes and masks of one image from the features of all views."""
        rules = self.post_processing
        image_size = features[0].source.image_size
        views = list(zip(self.views, features, strict=True))
        parts = []
        for view, maps in views:
            with timer.stage("RPN"):
                proposals = view.detector.proposals(maps)
            with timer.stage("box head"):
                parts.append(view.boxes(maps, proposals))
        with timer.stage("merge"):
            merged = merge_boxes(parts, image_size, rules.box_nms_iou, rules.max_detections)
            confidence = self.class_names, rules.confidence
            boxes = filter_by_confidence(merged, *confidence, least_score)
            if rules.box_voting_iou is not None:
                boxes = vote(boxes, Boxes.concatenate(parts), rules.box_voting_iou)
            agreement = box_agreement(boxes, parts)
        with timer.stage("mask head"):
            masks = [view.mask_probabilities(maps, boxes) for view, maps in views if len(boxes)]
        deciding = image_threshold(merged.labels, *confidence)
        return Detections(image_size, boxes, masks, *deciding, agreement)

    def finish(self, detections: Detections, timer: StageTimer) -> Instances:
        """Average the masks of the views, and let the better of overlapping instances stay."""
        if not len(detections.boxes):
            return Instances.empty(detections.image_size)
        with timer.stage("paste"):
            instances = mean_masks(
                detections.boxes, detections.probabilities, detections.image_size
            )
            instances.agreement[:, :3] = detections.agreement
            thresholds = self.post_processing.mask_threshold
            deciding = self.class_names[detections.deciding_class]
            instances = drawn_at(instances, class_threshold(thresholds, deciding))
        with timer.stage("mask NMS"):
            return instances[mask_nms(instances, self.post_processing.mask_nms_iou)]


def mean_rules(detectors: Sequence[Detector]) -> PostProcessing:
    """The solution's thresholds, with means over the models of those that checkpoints carry.

    Boxes vote if all models' checkpoints say so.
    """
    confidence = _mean_by_class([detector.inference["confidence"] for detector in detectors])
    masks = _mean_by_class([mask_thresholds(detector.inference) for detector in detectors])
    rules = PostProcessing(confidence, mask_threshold=masks)
    merging = [detector.inference.get("box_merging", {}) for detector in detectors]
    if any(rule.get("voting_iou") is None for rule in merging):
        return rules
    nms, voting = (
        float(np.mean([rule[name] for rule in merging])) for name in ("nms_iou", "voting_iou")
    )
    return replace(rules, box_nms_iou=nms, box_voting_iou=voting)


def _mean_by_class(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of tables by class name; of a name that a table lacks, its `default` counts."""
    names = {name: None for table in tables for name in table}  # in the order of the models
    return {
        name: float(np.mean([class_threshold(table, name) for table in tables])) for name in names
    }


def load_ensemble(
    weights: Sequence[str],
    device: torch.device,
    dtype: torch.dtype,
    score_thr: float | None = None,
    tta: Collection[str] = (),
    compile: bool = False,
) -> Ensemble:
    """Load checkpoints into an `Ensemble`.

    Args:
        weights: paths of self-describing checkpoints.
        device, dtype: where and in what to compute.
        score_thr: one confidence threshold for all classes instead of the checkpoints' own.
        tta: see `Ensemble`.
        compile: translate the backbones to machine code at the first image of each size.

    Raises:
        InputError: a checkpoint is missing, damaged or of other classes than the first.
    """
    if not weights:
        raise InputError("--weights: is empty; give at least one checkpoint")
    detectors = [Detector.load(path, device, dtype, compile) for path in weights]
    keep_freed_memory()  # after loading, whose own freed memory goes back to the system
    rules = mean_rules(detectors)
    if score_thr is not None:
        rules = replace(rules, confidence={"default": score_thr})
    return Ensemble(detectors, rules, tta)
