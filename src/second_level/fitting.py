"""Training the 2nd-level model: targets, splits by image, fitting, and how good the model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoostError, CatBoostRegressor
from pycocotools import mask as coco_mask
from scipy.stats import spearmanr
from tqdm import tqdm

from cells.annotations import AnnotatedImage, AnnotationSet, check_same_classes
from cells.images import read_image
from cells.instances import Instances
from cells.rle import rle_iou, to_rles
from network.rescaling import as_in_training
from network.tiles import instances_by_tile, tile_grid
from second_level.features.table import compute_features
from second_level.model import MISSING, predict_iou
from second_level.predictions import ImagePredictions, read_predictions
from utils.script import InputError

MOST_MISSING = 0.3  # share of missing values above which a column is left out
MOST_EQUAL = 0.9  # share of one value above which a column is left out
BAD_IOU = 0.5  # a prediction of a lower IoU is wrong at every threshold of the competition's metric


@dataclass(frozen=True)
class Settings:
    """CatBoost's; the defaults are the solution's."""

    iterations: int = 700
    depth: int = 2
    learning_rate: float = 0.02
    l2: float = 1.0
    seed: int = 67


@dataclass(frozen=True)
class TrainingSet:
    """Features and targets of all predicted instances (R rows) of the images that have any.

    Attributes:
        paths: prediction file of each image.
        records: truth of each image.
        table: features, float64 [R, columns], NaN where missing.
        iou: target, float64 [R], largest IoU with any true cell; NaN in crowd regions, where an
            instance is neither right nor wrong.
        scores: float32 [R], what the models gave.
        image_of: int64 [R], position in `records`.
        weights: SHA-256 of the checkpoints that predicted; none where the files do not tell.
        detection_share: see `SecondLevel`.
    """

    paths: list[Path]
    records: list[AnnotatedImage]
    table: pd.DataFrame
    iou: np.ndarray
    scores: np.ndarray
    image_of: np.ndarray
    weights: tuple[str, ...] = ()
    detection_share: float = 1.0


def load_training_set(data_dir: str | Path, truth: AnnotationSet) -> TrainingSet:
    """Read all prediction files of a folder and compute features and targets.

    Images without predictions are left out, with a line that says so.

    Raises:
        InputError: no files, damaged ones, files of images that the annotations lack or of other
            classes or models, or fewer than two images with predictions.
    """
    found = sorted(p for p in Path(data_dir).glob("*.pkl") if not p.name.startswith("."))
    if not found:
        raise InputError(
            f"--data_dir {data_dir}: no prediction pickles in it; "
            "run prepare_for_2nd_level_model.py first"
        )
    record_of = {record.id: record for record in truth.images}
    first = read_predictions(found[0])
    file_of: dict[str | int, Path] = {}
    paths, records, tables, targets, scores, empty = [], [], [], [], [], []
    for path in tqdm(found, desc="features"):
        predictions = read_predictions(path)
        check_same_classes(f"{path}", predictions.class_names, "the annotations", truth.class_names)
        _check_same_models(path, predictions, found[0].name, first)
        record = _matching_record(path, predictions, record_of)
        if file_of.setdefault(record.id, path) != path:
            raise InputError(
                f"{path}: image {record.id!r} is in {file_of[record.id].name}, too; remove one"
            )
        instances = predictions.instances
        if not len(instances):
            empty.append(str(record.id))
            continue
        paths.append(path)
        records.append(record)
        tables.append(features_of(predictions, read_image(record.path, predictions.grey_rule)))
        targets.append(
            np.where(in_crowds(instances, record), np.nan, largest_iou(instances, record))
        )
        scores.append(instances.scores)
    if empty:
        print(f"no predictions, left out: {len(empty)} image(s), for example {empty[0]}")
    if len(paths) < 2:
        raise InputError(
            f"--data_dir {data_dir}: predictions of {len(paths)} image(s); at least two images "
            "with predictions are needed, to train on one part and measure on the other"
        )
    return TrainingSet(
        paths=paths,
        records=records,
        table=pd.concat(tables, ignore_index=True),
        iou=np.concatenate(targets),
        scores=np.concatenate(scores),
        image_of=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        weights=first.weights,
        detection_share=first.detection_share,
    )


def _check_same_models(
    path: Path, predictions: ImagePredictions, first_name: str, first: ImagePredictions
) -> None:
    """Raise an `InputError` unless both files were predicted by the same models, and alike."""
    names = predictions.class_names
    check_same_classes(f"{path}", names, first_name, first.class_names, same_order=True)
    if predictions.weights != first.weights:
        raise InputError(
            f"{path}: predicted by other models than {first_name}; give --data_dir "
            "the predictions of one run of prepare_for_2nd_level_model.py"
        )
    for option in ("detection_share", "settings", "image_scale", "tile"):
        if getattr(predictions, option) != getattr(first, option):
            raise InputError(
                f"{path}: made with another --detection_share or other options than {first_name}; "
                "write all of them again with prepare_for_2nd_level_model.py"
            )


def _matching_record(
    path: Path, predictions: ImagePredictions, record_of: dict[str | int, AnnotatedImage]
) -> AnnotatedImage:
    remedy = "give the matching --annotation_dir and --fold, or another --data_dir"
    record = record_of.get(predictions.image_id)
    if record is None:
        raise InputError(
            f"{path}: image {predictions.image_id!r} is not in the annotations; {remedy}"
        )
    if predictions.instances.image_size != record.image_size:
        raise InputError(
            f"{path}: an image of {predictions.instances.image_size} pixels, in the annotations "
            f"{record.image_size}; {remedy}"
        )
    return record


def features_of(predictions: ImagePredictions, image: np.ndarray) -> pd.DataFrame:
    """Features as the 2nd level will see them: tile by tile, and at the training's scale.

    Args:
        predictions: N instances of an image.
        image: uint8 [height, width, 3], BGR.

    Returns:
        N rows.
    """
    instances = predictions.instances
    *tile_size, overlap = predictions.tile or (*instances.image_size, 0)
    tiles = tile_grid(instances.image_size, tuple(tile_size), overlap)
    tables = []
    for positions, place, own in instances_by_tile(instances, tiles):
        seen, pixels = as_in_training(own, image[place.slices], predictions.image_scale)
        tables.append(compute_features(seen, pixels).set_index(positions))
    return pd.concat(tables).sort_index()


def largest_iou(instances: Instances, record: AnnotatedImage) -> np.ndarray:
    """Largest IoU over pixels of each predicted mask with any true cell, float64 [N]."""
    return rle_iou(to_rles(instances), record.cell_rles).max(axis=1, initial=0)


def in_crowds(instances: Instances, record: AnnotatedImage) -> np.ndarray:
    """Whether more than half of each predicted mask lies in crowd regions, bool [N]."""
    if not record.crowd_rles or not len(instances):
        return np.zeros(len(instances), bool)
    region = coco_mask.merge(record.crowd_rles)
    return coco_mask.iou(to_rles(instances), [region], [1])[:, 0] > 0.5  # of a crowd: the share


def usable_columns(table: pd.DataFrame) -> list[str]:
    """Columns with few missing values, and enough different ones to learn from."""
    return [
        name
        for name, column in table.items()
        if column.isna().mean() <= MOST_MISSING
        and column.value_counts(normalize=True, dropna=False).iloc[0] <= MOST_EQUAL
    ]


def split_images(count: int, parts: int, seed: int) -> list[np.ndarray]:
    """Split the positions of `count` images at random into parts of nearly equal size; int64."""
    order = np.random.default_rng(seed).permutation(count)
    return np.array_split(order, parts)


def fit(
    table: pd.DataFrame, iou: np.ndarray, settings: Settings, description: str = "training"
) -> CatBoostRegressor:
    """Train on the usable columns, with a progress bar.

    Raises:
        InputError: CatBoost cannot learn from these numbers, or not with these settings.
    """
    model = CatBoostRegressor(
        iterations=settings.iterations,
        depth=settings.depth,
        learning_rate=settings.learning_rate,
        l2_leaf_reg=settings.l2,
        loss_function="RMSE",
        random_seed=settings.seed,
        allow_writing_files=False,
        logging_level="Silent",
    )
    known = ~np.isnan(iou)
    table, iou = table[known], iou[known]
    names = usable_columns(table) if len(table) else []
    if not names:
        raise InputError("--data_dir: no feature differs between the instances; give more images")
    with tqdm(total=settings.iterations, desc=description) as bar:
        try:
            model.fit(table[names].fillna(MISSING), iou, callbacks=[_Progress(bar)])
        except CatBoostError as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"--data_dir: CatBoost cannot learn from these predictions ({reason}); "
                "give more images, or other settings"
            ) from error
    return model


class _Progress:
    """Moves a bar by one step for each tree."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def after_iteration(self, info: object) -> bool:
        self._bar.update()
        return True  # go on


def predict_held_out(
    data: TrainingSet, parts: Sequence[np.ndarray], settings: Settings
) -> np.ndarray:
    """Predict each given part with a model of all images outside it.

    Args:
        data: rows of all images.
        parts: positions of the images to predict.
        settings: CatBoost's.

    Returns:
        float64 [R], NaN for rows of images in no part.
    """
    predicted = np.full(len(data.iou), np.nan)
    for number, part in enumerate(parts):
        held_out = np.isin(data.image_of, part)
        model = fit(
            data.table[~held_out],
            data.iou[~held_out],
            settings,
            f"training {number + 1} of {len(parts)} to be tested",
        )
        predicted[held_out] = predict_iou(model, data.table.loc[held_out, model.feature_names_])
    return predicted


def figures(data: TrainingSet, predicted: np.ndarray, drop_threshold: float) -> dict[str, float]:
    """How well the IoU is predicted on the rows that have a prediction.

    Precision and recall are those of finding the wrong instances (IoU under 0.5) by a predicted IoU
    under the drop threshold; NaN where none is found or none is wrong.
    """
    tested = ~np.isnan(predicted) & ~np.isnan(data.iou)
    predicted, iou, scores = predicted[tested], data.iou[tested], data.scores[tested]
    flagged, wrong = predicted < drop_threshold, iou < BAD_IOU
    found = np.count_nonzero(flagged & wrong)
    return {
        "instances": int(tested.sum()),
        "RMSE": float(np.sqrt(np.mean((predicted - iou) ** 2))),
        "rank correlation with IoU": _rank_correlation(predicted, iou),
        "rank correlation of the models' score": _rank_correlation(scores, iou),
        "precision of wrong instances": found / flagged.sum() if flagged.any() else float("nan"),
        "recall of wrong instances": found / wrong.sum() if wrong.any() else float("nan"),
    }


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's; NaN where one side is constant, or there are no numbers."""
    if not len(first) or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)
