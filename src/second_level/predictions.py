"""One pickle for each image's predictions, from which the 2nd-level model is trained.

A file is a dict of plain Python types and NumPy arrays: `image_id`, `image_path`, `image_size`
(height, width), `class_names`, `weights` (SHA-256 of the checkpoints), `boxes`, `scores`, `labels`
and `offsets` as in `Instances`, and `masks`, a list of uint16 crops (probability times 65535).
Later files also have `agreement` as in `Instances`, `threshold`, `detection_share`, `grey` (see
`GreyRule`), `settings`, `image_scale`, `tile`, and `unlowered`, a dict of instances.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from cells.grey import AS_STORED, GreyRule
from cells.instances import AGREEMENT, Instances
from utils.files import atomic_path
from utils.pickles import ARRAY_STAND_INS, read_pickle
from utils.script import InputError

STEPS = 65535  # odd, so that no probability below 0.5 is rounded to one that is not
LARGEST_SIDE = 10**6  # of an image, in pixels
LIMITS = (("threshold", 0.0), ("detection_share", 1.0))  # and what they are in earlier files
REMEDY = "write it again with prepare_for_2nd_level_model.py"


@dataclass(frozen=True)
class ImagePredictions:
    """What a file holds.

    Attributes:
        image_id: as in the annotation file.
        image_path: where the image was.
        class_names: by label.
        instances: predictions.
        weights: SHA-256 of the models' checkpoints; none in files of earlier versions.
        threshold: least score of an instance that counts where no second level decides.
        detection_share: from this share of the threshold on there are instances.
        grey_rule: how the image is to be read; earlier files do not say it.
        settings: the options that they were made with, as text; empty in earlier files.
        image_scale: size of the image's pixels relative to those of the training images.
        tile: (height, width, overlap) of the tiles that the image was cut into; None in earlier
            files, which do not tell it, nor the scale.
        unlowered: of several tiles, which have thresholds of their own, what these let pass.
    """

    image_id: str | int
    image_path: str
    class_names: tuple[str, ...]
    instances: Instances
    weights: tuple[str, ...] = ()
    threshold: float = 0.0
    detection_share: float = 1.0
    grey_rule: GreyRule = AS_STORED
    settings: str = ""
    image_scale: float = 1.0
    tile: tuple[int, int, int] | None = None
    unlowered: Instances | None = None

    @property
    def kept(self) -> Instances:
        """Instances that reach the threshold."""
        if self.unlowered is not None:
            return self.unlowered
        return self.instances[self.instances.scores >= np.float32(self.threshold)]


def prediction_path(folder: str | Path, image_id: str | int) -> Path:
    """`<folder>/<image_id>.pkl`; characters that a file name cannot hold are percent-encoded."""
    return Path(folder) / f"{quote(str(image_id), safe=' ')}.pkl"


def write_predictions(path: str | Path, predictions: ImagePredictions) -> None:
    """Write one image's predictions; the file is there completely or not at all.

    Raises:
        InputError: the folder cannot be written to.
    """
    unlowered = predictions.unlowered
    record = {
        "image_id": predictions.image_id,
        "image_path": str(predictions.image_path),
        "image_size": tuple(int(side) for side in predictions.instances.image_size),
        "class_names": list(predictions.class_names),
        "weights": list(predictions.weights),
        **_to_arrays(predictions.instances),
        "threshold": float(predictions.threshold),
        "detection_share": float(predictions.detection_share),
        "grey": predictions.grey_rule.to_dict(),
        "settings": predictions.settings,
        "image_scale": float(predictions.image_scale),
        "tile": predictions.tile,
        "unlowered": None if unlowered is None else _to_arrays(unlowered),
    }
    with atomic_path(path) as temporary:
        # protocol 4 holds an array's bytes in a form that any NumPy reads
        temporary.write_bytes(pickle.dumps(record, protocol=4))


def _to_arrays(instances: Instances) -> dict[str, object]:
    return {
        "boxes": np.ascontiguousarray(instances.boxes, np.float32),
        "scores": np.ascontiguousarray(instances.scores, np.float32),
        "labels": np.ascontiguousarray(instances.labels, np.int64),
        "offsets": np.ascontiguousarray(instances.offsets, np.int64),
        "masks": [_to_steps(mask) for mask in instances.masks],
        "agreement": np.ascontiguousarray(instances.agreement, np.float32),
    }


def _to_steps(mask: np.ndarray) -> np.ndarray:
    """Probabilities as uint16; 0 stays the only one that becomes 0, since features ask for it."""
    steps = np.rint(mask.astype(np.float64) * STEPS)
    return np.ascontiguousarray(np.maximum(steps, mask > 0), np.uint16)


def read_predictions(path: str | Path) -> ImagePredictions:
    """Read what `write_predictions` wrote.

    Raises:
        InputError: the file is missing, truncated, hostile, or its content does not fit together.
    """
    record = read_pickle(path, ARRAY_STAND_INS, REMEDY)
    try:
        return _checked(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{path}: not a prediction file of this project ({reason}); {REMEDY}"
        ) from error


def _checked(record: object) -> ImagePredictions:
    """Raises KeyError, TypeError, ValueError or AttributeError where something does not fit."""
    if not isinstance(record, dict):
        raise TypeError("not a dict")
    height, width = record["image_size"]
    names = record["class_names"]
    if not isinstance(record["image_id"], str | int) or not isinstance(record["image_path"], str):
        raise TypeError("image_id or image_path of a wrong type")
    if not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in (height, width)):
        raise TypeError("image_size is not a pair of whole numbers above 0")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise TypeError("class_names are not texts")
    instances = _checked_instances(record, (height, width), len(names))
    limits = [float(record.get(name, default)) for name, default in LIMITS]
    if not all(0 <= limit <= 1 for limit in limits):
        raise ValueError("threshold or detection_share is not between 0 and 1")
    weights = record.get("weights", [])
    if not isinstance(weights, list) or not all(isinstance(value, str) for value in weights):
        raise TypeError("weights are no texts")
    settings = record.get("settings", "")
    if not isinstance(settings, str):
        raise TypeError("settings are no text")
    about = record["image_id"], record["image_path"], tuple(names)
    rule = GreyRule.from_dict(record["grey"]) if "grey" in record else AS_STORED
    image_scale, tile = float(record.get("image_scale", 1)), record.get("tile")
    if not 0 < image_scale < math.inf:
        raise ValueError("image_scale is not above 0")
    if tile is not None:
        _check_tile(tile)
    unlowered = record.get("unlowered")
    if unlowered is not None:
        unlowered = _checked_instances(unlowered, (height, width), len(names))
    return ImagePredictions(
        *about, instances, tuple(weights), *limits, rule, settings, image_scale, tile, unlowered
    )


def _check_tile(tile: tuple[int, int, int]) -> None:
    height, width, overlap = tile
    if not all(type(side) is int for side in tile) or not 0 <= overlap <= min(height, width) // 2:
        raise ValueError("tile is not that of a grid")


def _checked_instances(record: dict, size: tuple[int, int], class_count: int) -> Instances:
    height, width = size
    if not isinstance(record["masks"], list):
        raise TypeError("masks are not a list")
    crops = [mask.array for mask in record["masks"]]
    count = len(crops)
    boxes = _array(record, "boxes", np.float32, (count, 4))
    scores = _array(record, "scores", np.float32, (count,))
    labels = _array(record, "labels", np.int64, (count,))
    offsets = _array(record, "offsets", np.int64, (count, 2))
    if not ((np.abs(boxes) <= 2 * LARGEST_SIDE).all() and np.isfinite(scores).all()):
        raise ValueError("boxes or scores are out of range")
    if count and not 0 <= labels.min() <= labels.max() < class_count:
        raise ValueError("labels out of range")
    if any(crop.ndim != 2 or crop.dtype != np.uint16 for crop in crops):
        raise ValueError("masks are not uint16 [h, w]")
    sizes = np.array([crop.shape for crop in crops], np.int64).reshape(-1, 2)[:, ::-1]
    if (offsets < 0).any() or (offsets > (width, height) - sizes).any():
        raise ValueError("masks reach outside the image")
    masks = [crop.astype(np.float32) / np.float32(STEPS) for crop in crops]
    # earlier files hold all that the models' thresholds let pass, and do not know the agreement
    agreement = None
    if "agreement" in record:
        agreement = _array(record, "agreement", np.float32, (count, len(AGREEMENT)))
    return Instances(size, boxes, scores, labels, masks, offsets, agreement)


def _array(record: dict, name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    array = record[name].array
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, not {dtype.__name__} {shape}")
    return array.copy()  # what was read is not writable
