"""What carries predictions of one image between stages: `Boxes`, and `Instances` with masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

# of the views: share that detected the box (IoU 0.5), mean and least score that they gave it (0
# where they did not), mean and least IoU of their masks with the mean mask
AGREEMENT = ("found", "mean_score", "least_score", "mean_mask_iou", "least_mask_iou")


@dataclass(frozen=True)
class Boxes:
    """Detected boxes of one image, before they have masks; fields of equal length N.

    Attributes:
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the original image.
        scores: float32 [N] in [0, 1].
        labels: int64 [N], index into the class names.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: np.ndarray | slice) -> Boxes:
        """Select by a boolean mask, an index array or a slice."""
        return Boxes(self.boxes[index], self.scores[index], self.labels[index])

    @classmethod
    def concatenate(cls, parts: Sequence[Boxes]) -> Boxes:
        """Boxes of several models or views, one after the other."""
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )


@dataclass(frozen=True)
class Instances:
    """Predicted instances of one image; all fields but `image_size` have length N.

    A soft mask is kept as a crop, never as a full frame: 500 instances in 704 x 520 pixels are
    2 MB instead of 730 MB.

    Attributes:
        image_size: (height, width) of the image in pixels.
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the original image.
        scores: float32 [N] in [0, 1].
        labels: int64 [N], index into the class names.
        masks: N arrays float32 [h, w], foreground probability of the crop's pixels, 0 outside.
        offsets: int64 [N, 2], x y of each crop's top left pixel; crops lie inside the image.
        agreement: float32 [N, 5], how far the views (models, mirrored or not) agree, by the columns
            of `AGREEMENT`; NaN where it is not known.
    """

    image_size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: Sequence[np.ndarray]
    offsets: np.ndarray
    agreement: np.ndarray = None  # type: ignore[assignment]  # unknown, see __post_init__

    def __post_init__(self) -> None:
        if self.agreement is None:
            unknown = np.full((len(self.scores), len(AGREEMENT)), np.nan, np.float32)
            object.__setattr__(self, "agreement", unknown)
        lengths = {
            len(self.agreement),
            len(self.boxes),
            len(self.scores),
            len(self.labels),
            len(self.masks),
            len(self.offsets),
        }
        if len(lengths) != 1:
            raise ValueError(f"fields of different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: np.ndarray | slice) -> Instances:
        """Select instances by a boolean mask, an index array or a slice."""
        chosen = np.arange(len(self))[index]
        return replace(
            self,
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=[self.masks[i] for i in chosen],
            offsets=self.offsets[chosen],
            agreement=self.agreement[chosen],
        )

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Instances:
        """No instance: a normal answer."""
        return cls(
            image_size,
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            labels=np.zeros(0, np.int64),
            masks=[],
            offsets=np.zeros((0, 2), np.int64),
        )

    def sorted_by_score(self) -> Instances:
        """Highest score first; ties keep their order."""
        return self[np.argsort(-self.scores, kind="stable")]


@dataclass(frozen=True)
class Candidates:
    """Instances of one image together with the confidence threshold that applies to it.

    Attributes:
        instances: candidates; those below the threshold, too, where others are to be tried.
        deciding_class: the label whose threshold applies to the image.
        threshold: the least score of an instance that counts.
        unlowered: of several tiles whose thresholds were lowered (`TiledEnsemble.lower_thresholds`)
            the instances that the thresholds themselves leave; None elsewhere, where `threshold`
            tells.
    """

    instances: Instances
    deciding_class: int
    threshold: float
    unlowered: Instances | None = None

    @property
    def kept(self) -> Instances:
        """The instances that reach the threshold."""
        # float32 as the scores are: a score of exactly the threshold counts
        return self.instances[self.instances.scores >= np.float32(self.threshold)]


def dominant_class(labels: np.ndarray) -> int:
    """The most frequent label (ties: the smallest), or 0 without any."""
    return int(np.bincount(labels).argmax()) if len(labels) else 0
