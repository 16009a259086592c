"""The annotated images of a training, checked together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cells.annotations import (
    AnnotatedImage,
    annotation_file,
    check_same_classes,
    load_annotations,
)


@dataclass(frozen=True)
class TrainingData:
    """Images to train and to validate on.

    Attributes:
        train, valid: annotated images.
        class_names: of both, by label.
        files: annotation files of the training images.
    """

    train: list[AnnotatedImage]
    valid: list[AnnotatedImage]
    class_names: tuple[str, ...]
    files: tuple[Path, ...]


def load_training_data(
    annotation_dir: str,
    image_dir: str,
    fold: int,
    extra_folders: Sequence[str] = (),
    skip_invalid: bool = False,
) -> TrainingData:
    """Read `annotations_train_<fold>.json` and `annotations_valid_<fold>.json`, and further data.

    Args:
        annotation_dir: folder of the annotation files.
        image_dir: folder that their `file_name`s are relative to.
        fold: number of the split.
        extra_folders: further training data, each a folder with `images` and `annotations`.
        skip_invalid: leave out what cannot be used.

    Raises:
        InputError: unusable annotations, or classes that differ.
    """
    files = [Path(annotation_file(annotation_dir, "train", fold))]
    train = load_annotations(files[0], image_dir, skip_invalid)
    valid = load_annotations(
        annotation_file(annotation_dir, "valid", fold), image_dir, skip_invalid
    )
    check_same_classes(
        f"--annotation_dir {annotation_dir}, validation",
        valid.class_names,
        "the training",
        train.class_names,
        same_order=True,
    )
    images = list(train.images)
    for folder in map(Path, extra_folders):
        files.append(Path(annotation_file(folder / "annotations", "train", 0)))
        extra = load_annotations(files[-1], folder / "images", skip_invalid)
        check_same_classes(
            f"--extra_data {folder}",
            extra.class_names,
            "the training data",
            train.class_names,
            same_order=True,
        )
        images += extra.images
    return TrainingData(images, list(valid.images), train.class_names, tuple(files))
