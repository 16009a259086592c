"""Where the predictions of an evaluation come from: models, a COCO results file, label images."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np

from cells.annotations import (
    AnnotatedImage,
    AnnotationSet,
    check_same_classes,
    whole_number,
)
from cells.grey import AS_STORED, GreyRule
from cells.instances import Candidates, Instances, dominant_class
from cells.label_images import label_crops, read_labels
from cells.rle import rle_crop, to_rle
from evaluation.thresholds import CONFIDENCES
from network.tiling import TiledEnsemble
from utils.files import read_json
from utils.script import InputError, report_problems

Value = TypeVar("Value")

NO_THRESHOLD = float("-inf")
LARGEST = 1e9  # of a coordinate or a score
# As infer_cis.py --save labels writes names, and as Cellpose does; then the image's own name, by
# which there may be a picture beside them.
LABEL_ENDINGS = ("_labels", "_cp_masks", "")
LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")


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
        self, ensemble: TiledEnsemble, class_names: Sequence[str], searching: bool = False
    ) -> None:
        check_same_classes("--weights", ensemble.class_names, "the annotations", class_names)
        self.ensemble = ensemble
        self._label_of = np.array([class_names.index(name) for name in ensemble.class_names])
        self._least_score = float(CONFIDENCES[0]) if searching else math.inf

    @property
    def grey_rule(self) -> GreyRule:
        """How the images are to be read."""
        return self.ensemble.grey_rule

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> Candidates:
        """Segment uint8 BGR [height, width, 3]."""
        found = self.ensemble.candidates(image, self._least_score)
        return Candidates(
            self._relabelled(found.instances),
            int(self._label_of[found.deciding_class]),
            found.threshold,
            None if found.unlowered is None else self._relabelled(found.unlowered),
        )

    def rescored(
        self,
        rescore: Callable[[Instances, np.ndarray], Instances],
        instances: Instances,
        image: np.ndarray,
    ) -> Instances:
        """Apply a rescoring, which knows the labels in the models' order, see `TiledEnsemble`."""
        own = np.argsort(self._label_of)
        instances = replace(instances, labels=own[instances.labels])
        return self._relabelled(self.ensemble.rescored(rescore, instances, image))

    def _relabelled(self, instances: Instances) -> Instances:
        return replace(instances, labels=self._label_of[instances.labels])


class FilePredictions:
    """Predictions that were read from a file, or are read from a folder image by image.

    Args:
        read: gives the instances of an image.
        score_thr: least score of an instance that counts; default all.
    """

    def __init__(
        self, read: Callable[[AnnotatedImage], Instances], score_thr: float | None = None
    ) -> None:
        self.grey_rule = AS_STORED  # nothing looks at the grey values
        self._read = read
        self._threshold = NO_THRESHOLD if score_thr is None else score_thr

    def __call__(self, record: AnnotatedImage, image: np.ndarray) -> Candidates:
        """The image's predictions; its pixels are not looked at."""
        instances = self._read(record)
        return Candidates(instances, dominant_class(instances.labels), self._threshold)


class CocoResults:
    """Predictions in a COCO results file, kept as RLE and decoded when asked for.

    Args:
        path: JSON file. Image ids may be strings where the annotation file has integers, or the
            other way round. Masks are RLE or polygons; without `bbox` the tight box is taken.
        truth: the annotations that the results belong to.
        skip_invalid: leave invalid predictions out instead of raising.

    Raises:
        InputError: the file is missing or no list of results, or predictions in it are invalid or
            of unknown images or categories (all in `details`).
    """

    def __init__(self, path: str | Path, truth: AnnotationSet, skip_invalid: bool = False) -> None:
        record_of = {str(record.id): record for record in truth.images}
        label_of = {category: label for label, category in enumerate(truth.category_ids)}
        self._rows: dict[str | int, list[tuple]] = defaultdict(list)
        problems = []
        for number, row in enumerate(_read_rows(path)):
            try:
                image_id, category_id = map(whole_number, map(row.get, ("image_id", "category_id")))
                record = _lookup(record_of, str(image_id), "image_id")
                label = _lookup(label_of, category_id, "category_id")
                self._rows[record.id].append((label, *_checked(row, record)))
            except ValueError as error:
                problems.append(f"prediction {number} (image {row.get('image_id')!r}): {error}")
        report_problems(f"--predictions {path}", problems, skip_invalid, "prediction")

    def instances(self, record: AnnotatedImage) -> Instances:
        """Predictions of one image."""
        rows = self._rows.get(record.id, [])
        crops = [rle_crop(rle) for _, _, _, rle in rows]
        return _certain_instances(
            record,
            labels=[label for label, _, _, _ in rows],
            scores=[score for _, score, _, _ in rows],
            boxes=[box for _, _, box, _ in rows],
            crops=[crop for crop, _ in crops],
            offsets=[offset for _, offset in crops],
        )


def _read_rows(path: str | Path) -> list[dict]:
    remedy = "give a COCO results file (a JSON list) or a folder of label images"
    rows = read_json(path, f"--predictions {path}", remedy, "file or folder")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"--predictions {path}: is not a list of predictions; {remedy}")
    return rows


def _lookup(table: Mapping[Any, Value], key: object, name: str) -> Value:
    if not isinstance(key, str | int) or key not in table:
        known = ", ".join(map(str, list(table)[:5])) + (" ..." if len(table) > 5 else "")
        raise ValueError(f"{name} {key!r} is not in the annotation file (which has {known})")
    return table[key]


def _checked(row: dict, record: AnnotatedImage) -> tuple[float, np.ndarray, dict]:
    """Score, box x1 y1 x2 y2 and RLE of one prediction.

    Raises:
        ValueError: one of them is missing or malformed.
    """
    score = row.get("score")
    if not _is_number(score):
        raise ValueError(f"score {score!r} is not a number")
    rle = to_rle(row.get("segmentation"), *record.image_size)
    if "bbox" in row:
        box = row["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise ValueError(f"bbox {box!r} is not [x, y, width, height]")
        x, y, width, height = box
    else:
        crop, (x, y) = rle_crop(rle)
        height, width = crop.shape
    return float(score), np.array([x, y, x + width, y + height]), rle


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST  # NaN is not, either


class LabelImages:
    """Label images (0 background, one number for each instance) in a folder, read when asked for.

    They have neither classes nor scores: all get label 0 and score 1.

    Args:
        folder: holds `<name>.tif`, `.png` or `.npy` for every image, where `<name>` is the image's
            id, or its file name if no other image has the same, also with `_labels` or `_cp_masks`
            after it.
        truth: the annotations of the images.

    Raises:
        InputError: images without a label image (all in `details`).
    """

    def __init__(self, folder: str | Path, truth: AnnotationSet) -> None:
        self._paths = {}
        absent = []
        stems = Counter(record.path.stem for record in truth.images)
        for record in truth.images:
            names = [record.path.stem] * (stems[record.path.stem] == 1) + [str(record.id)]
            path = _label_path(Path(folder), names, record.path)
            if path is None:
                absent.append(f"no label image of {record.id}")
            else:
                self._paths[record.id] = path
        if absent:
            form = f"<name>[{'|'.join(filter(None, LABEL_ENDINGS))}]{'|'.join(LABEL_SUFFIXES)}"
            raise InputError(
                f"--predictions {folder}: {len(absent)} label image(s) missing, listed above; "
                f"expected {form} for every image",
                absent,
            )

    def instances(self, record: AnnotatedImage) -> Instances:
        """Predictions of one image.

        Raises:
            InputError: the label image is unreadable or does not fit the image.
        """
        crops = label_crops(read_labels(self._paths[record.id], record.image_size))
        return _certain_instances(
            record,
            labels=[0] * len(crops),
            scores=[1.0] * len(crops),
            boxes=[(x, y, x + mask.shape[1], y + mask.shape[0]) for mask, (x, y) in crops],
            crops=[mask for mask, _ in crops],
            offsets=[offset for _, offset in crops],
        )


def _label_path(folder: Path, names: Sequence[str], image: Path) -> Path | None:
    candidates = (
        folder / f"{name}{ending}{suffix}"
        for name in names
        for ending in LABEL_ENDINGS
        for suffix in LABEL_SUFFIXES
    )
    return next((p for p in candidates if p.is_file() and p.resolve() != image.resolve()), None)


def _certain_instances(
    record: AnnotatedImage,
    labels: Sequence[int],
    scores: Sequence[float],
    boxes: Sequence[Sequence[float]],
    crops: Sequence[np.ndarray],
    offsets: Sequence[tuple[int, int]],
) -> Instances:
    """Instances whose masks are certain: probability 1 inside, 0 outside."""
    return Instances(
        image_size=record.image_size,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
        masks=[crop.astype(np.float32) for crop in crops],
        offsets=np.array(offsets, np.int64).reshape(-1, 2),
    )
