"""The solution's ensemble: boxes of all models merged, mask probabilities averaged, mask NMS.

Every model's backbone runs once per image (and view): its masks come from the features that its
boxes came from.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torchvision.ops import batched_nms

from cells.grey import mean_rule
from cells.instances import Boxes, Candidates, Instances
from cells.masks import mask_nms, paste_probabilities
from network.detector import Detector, Features, NetworkInput
from utils.device import keep_freed_memory, resolve_device, resolve_precision, use_threads
from utils.script import InputError
from utils.stages import StageTimer


@dataclass(frozen=True)
class PostProcessing:
    """Thresholds of the ensemble; the defaults are the solution's.

    Attributes:
        confidence: least score of an instance by class name; which class's threshold applies to the
            whole image is decided by its most frequent detected class.
        box_nms_iou: class-wise box NMS when merging.
        mask_nms_iou: mask NMS over all classes at the end.
        max_detections: boxes that remain after merging.
    """

    confidence: Mapping[str, float]
    box_nms_iou: float = 0.99
    mask_nms_iou: float = 0.1
    max_detections: int = 10_000


def merge_boxes(
    parts: Sequence[Boxes],
    image_size: tuple[int, int],
    iou_threshold: float = 0.99,
    max_detections: int = 10_000,
) -> Boxes:
    """Concatenate the boxes of all models, clip them to the image, and thin them by class-wise NMS.

    Args:
        parts: boxes of each model in original pixels.
        image_size: (height, width) in pixels.
        iou_threshold: a box goes when its IoU with a better one of its class is larger.
        max_detections: at most this many stay.

    Returns:
        Highest score first; boxes without score or extent are dropped.
    """
    merged = Boxes.concatenate(parts)
    height, width = image_size
    clipped = np.clip(merged.boxes, 0, np.array([width, height, width, height], np.float32))
    merged = replace(merged, boxes=clipped)
    extent = clipped[:, 2:] - clipped[:, :2]
    merged = merged[(merged.scores > 1e-8) & (extent > 0).all(axis=1)]
    keep = batched_nms(
        torch.from_numpy(merged.boxes),
        torch.from_numpy(merged.scores),
        torch.from_numpy(merged.labels),
        iou_threshold,
    )
    return merged[keep[:max_detections].numpy()]


def dominant_class(labels: np.ndarray) -> int:
    """The most frequent label (ties: the smallest), or 0 without any."""
    return int(np.bincount(labels).argmax()) if len(labels) else 0


def image_threshold(
    labels: np.ndarray, class_names: Sequence[str], confidence: Mapping[str, float]
) -> tuple[int, float]:
    """The label that decides on the confidence threshold of an image, and this threshold.

    Args:
        labels: of all detections of the image; the most frequent one decides.
        class_names: by label.
        confidence: threshold by class name, `default` for names that are not in it.
    """
    label = dominant_class(labels)
    return label, confidence.get(class_names[label], confidence["default"])


def filter_by_confidence(
    boxes: Boxes,
    class_names: Sequence[str],
    confidence: Mapping[str, float],
    least_score: float = math.inf,
) -> Boxes:
    """Keep boxes whose score reaches the image's threshold, see `image_threshold`.

    Args:
        boxes: all detections of the image; they decide on the threshold.
        class_names, confidence: see `image_threshold`.
        least_score: applies instead of the threshold where it is lower.
    """
    _, threshold = image_threshold(boxes.labels, class_names, confidence)
    # float32 as the scores are: a score of exactly the threshold counts
    return boxes[boxes.scores >= np.float32(min(threshold, least_score))]


def mean_masks(
    boxes: Boxes, probabilities: Sequence[np.ndarray], image_size: tuple[int, int]
) -> Instances:
    """Paste each model's mask probabilities into the image and average them.

    Args:
        boxes: N boxes in original pixels.
        probabilities: for each model float32 [N, S, S]; S may differ between models.
        image_size: (height, width) in pixels.
    """
    crops, offsets = paste_probabilities(probabilities[0], boxes.boxes, image_size)
    for more in probabilities[1:]:
        for crop, other in zip(
            crops, paste_probabilities(more, boxes.boxes, image_size)[0], strict=True
        ):
            crop += other
    masks = [crop / len(probabilities) for crop in crops]
    return Instances(image_size, boxes.boxes, boxes.scores, boxes.labels, masks, offsets)


@dataclass(frozen=True)
class View:
    """One model looking at the image as it is or mirrored; boxes and masks come back unmirrored."""

    detector: Detector
    flip: bool = False

    def prepare(self, image: np.ndarray, image_scale: float = 1.0) -> NetworkInput:
        """What the network takes, see `Detector.prepare`."""
        return self.detector.prepare(image[:, ::-1] if self.flip else image, image_scale)

    def boxes(self, features: Features, proposals: torch.Tensor) -> Boxes:
        """Detected boxes in original pixels."""
        found = self.detector.boxes(features, proposals)
        return replace(found, boxes=self._mirror(found.boxes, features))

    def mask_probabilities(self, features: Features, boxes: Boxes) -> np.ndarray:
        """Mask probabilities of merged boxes, float32 [N, S, S]."""
        mirrored = self._mirror(boxes.boxes, features)
        masks = self.detector.mask_probabilities(features, mirrored, boxes.labels)
        return masks[:, :, ::-1] if self.flip else masks

    def _mirror(self, boxes: np.ndarray, features: Features) -> np.ndarray:
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
    """

    image_size: tuple[int, int]
    boxes: Boxes
    probabilities: Sequence[np.ndarray]
    deciding_class: int
    threshold: float


class Ensemble:
    """One or more models whose predictions are merged.

    Args:
        detectors: models with the same class names, in any architecture.
        post_processing: thresholds; default: the solution's, with the mean of the confidence
            thresholds that the checkpoints carry.
        tta: also look at the mirrored image and average.

    Attributes:
        class_names: by label.
        grey_rule: how images are to be read for the models, see `cells.images`.

    Raises:
        InputError: the class names differ.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        post_processing: PostProcessing | None = None,
        tta: bool = False,
    ) -> None:
        first = detectors[0]
        for other in detectors[1:]:
            if other.class_names != first.class_names:
                raise InputError(
                    f"--weights: class names differ ({', '.join(first.class_names)} against "
                    f"{', '.join(other.class_names)}); give models of the same classes"
                )
        self.class_names = first.class_names
        self.device = first.device
        self.grey_rule = mean_rule([detector.grey_rule for detector in detectors])
        self.post_processing = post_processing or PostProcessing(mean_confidence(detectors))
        flips = (False, True) if tta else (False,)
        self.views = [View(detector, flip) for detector in detectors for flip in flips]

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
        self, features: Sequence[Features], timer: StageTimer, least_score: float
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
        with timer.stage("mask head"):
            masks = [view.mask_probabilities(maps, boxes) for view, maps in views if len(boxes)]
        return Detections(image_size, boxes, masks, *image_threshold(merged.labels, *confidence))

    def finish(self, detections: Detections, timer: StageTimer) -> Instances:
        """Average the masks of the views, and let the better of overlapping instances stay."""
        if not len(detections.boxes):
            return Instances.empty(detections.image_size)
        with timer.stage("paste"):
            instances = mean_masks(
                detections.boxes, detections.probabilities, detections.image_size
            )
        with timer.stage("mask NMS"):
            return instances[mask_nms(instances, self.post_processing.mask_nms_iou)]


def mean_confidence(detectors: Sequence[Detector]) -> dict[str, float]:
    """Mean over the models of the thresholds that their checkpoints carry."""
    tables = [detector.inference["confidence"] for detector in detectors]
    names = {name for table in tables for name in table}
    return {
        name: float(np.mean([table.get(name, table["default"]) for table in tables]))
        for name in names
    }


def load_ensemble(
    weights: Sequence[str],
    device: torch.device,
    dtype: torch.dtype,
    score_thr: float | None = None,
    tta: bool = False,
    compile: bool = False,
) -> Ensemble:
    """Load checkpoints into an `Ensemble`.

    Args:
        weights: paths of self-describing checkpoints.
        device, dtype: where and in what to compute.
        score_thr: one confidence threshold for all classes instead of the checkpoints' own.
        tta: also look at the mirrored image.
        compile: translate the backbones to machine code at the first image of each size.

    Raises:
        InputError: a checkpoint is missing, damaged or of other classes than the first.
    """
    if not weights:
        raise InputError("--weights: is empty; give at least one checkpoint")
    detectors = [Detector.load(path, device, dtype, compile) for path in weights]
    keep_freed_memory()  # but for what loading has freed
    rules = None if score_thr is None else PostProcessing({"default": score_thr})
    return Ensemble(detectors, rules, tta)


def ensemble_from(
    args: argparse.Namespace, weights: Sequence[str], device: torch.device | None = None
) -> Ensemble:
    """Load models as `add_compute_options` and `add_prediction_options` say.

    Args:
        args: the options.
        weights: checkpoints.
        device: where to compute instead of `--device`.

    Raises:
        InputError: a checkpoint or an option cannot be used.
    """
    device = device or resolve_device(args.device)
    dtype = resolve_precision(args.precision, device)
    use_threads(args.threads)
    return load_ensemble(weights, device, dtype, args.score_thr, args.tta, args.compile)
