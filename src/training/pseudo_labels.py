"""Pseudo labels: what models find in unlabelled images, as annotations of the next training.

Cells that the models are sure of become annotations. Those that they are unsure of become crowd
regions, one for each: training then neither rewards nor punishes what it finds there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from cells.annotations import check_same_classes
from cells.drawing import draw_groups
from cells.instances import Candidates, Instances
from cells.rle import rle_crop, to_rles
from network.merging import class_threshold
from network.tiling import TiledEnsemble
from utils.files import sha256
from utils.script import InputError

# BGR of Okabe and Ito's palette, which colour-blind people can tell apart
SURE, UNSURE = (115, 158, 0), (66, 228, 240)
LEAST_IOU = 0.5  # that the second level predicts for a cell that the models are sure of

Rescore = Callable[[Instances, np.ndarray], Instances]


@dataclass(frozen=True)
class Rules:
    """Which cells are sure, and which unsure.

    Attributes:
        least_score: of a sure cell, by the class that decides on the image, or `default`; a class
            without entry has the models' own threshold, or `LEAST_IOU` after a second level.
        known_class: of all cells of the images, whatever the models call them.
        unsure_share: from this share of the least score on, a cell is unsure; 1: no cell is.
    """

    least_score: Mapping[str, float]
    unsure_share: float = 0.5
    known_class: str | None = None

    def least(self, name: str, otherwise: float) -> float:
        """Least score of a sure cell in an image on which class `name` decides."""
        return self.least_score.get(name, self.least_score.get("default", otherwise))


@dataclass(frozen=True)
class Labels:
    """What the models found in one image: sure cells, and unsure ones in one or more parts."""

    sure: Instances
    unsure: Sequence[Instances]


def find_labels(
    ensemble: TiledEnsemble, image: np.ndarray, rules: Rules, rescore: Rescore | None = None
) -> Labels:
    """Segment one image.

    Args:
        ensemble: what finds the cells.
        image: uint8 [height, width, 3], BGR.
        rules: what is sure.
        rescore: a second level; it sees what it was trained on, cells that reach the models'
            thresholds, and its scores decide. Those below are unsure at best.
    """
    table = ensemble.post_processing.confidence
    wanted = [*table.values(), *rules.least_score.values()]
    found = ensemble.candidates(image, rules.unsure_share * min(wanted))
    if rules.known_class is not None:
        found = _of_class(found, ensemble, rules.known_class)
    name = ensemble.class_names[found.deciding_class]
    if rescore is None:
        least = rules.least(name, found.threshold)
        return Labels(
            _between(found.instances, least),
            [_between(found.instances, rules.unsure_share * least, least)],
        )
    least = rules.least(name, LEAST_IOU)
    rescored = rescore(found.kept, image)
    unsure = [
        _between(rescored, rules.unsure_share * least, least),
        _between(found.instances, rules.unsure_share * found.threshold, found.threshold),
    ]
    return Labels(_between(rescored, least), unsure)


def _of_class(found: Candidates, ensemble: TiledEnsemble, name: str) -> Candidates:
    """The same cells, all of one class, whose threshold then applies."""
    label = ensemble.class_names.index(name)
    labels = np.full_like(found.instances.labels, label)
    threshold = class_threshold(ensemble.post_processing.confidence, name)
    return Candidates(replace(found.instances, labels=labels), label, threshold)


def _between(instances: Instances, low: float, high: float = np.inf) -> Instances:
    """Instances of a score from `low` on and below `high`; float32, as the scores are."""
    scores = instances.scores
    return instances[(scores >= np.float32(low)) & (scores < np.float32(high))]


def as_part(labels: Labels, class_names: Sequence[str]) -> dict:
    """`width`, `height` and `annotations` of an image, for a JSON file.

    The annotations are COCO's without ids, with the class's name as `category`.
    """
    height, width = labels.sure.image_size
    rows = _rows(labels.sure, class_names, 0)
    for instances in labels.unsure:
        rows += _rows(instances, class_names, 1)
    return {"width": width, "height": height, "annotations": rows}


def _rows(instances: Instances, class_names: Sequence[str], crowd: int) -> list[dict]:
    return [
        {
            "category": class_names[label],
            "segmentation": rle,
            "bbox": [float(side) for side in coco_mask.toBbox(rle)],
            "area": int(coco_mask.area(rle)),
            "iscrowd": crowd,
            "score": round(float(score), 4),
            "pseudo": True,
        }
        for label, rle, score in zip(
            instances.labels, to_rles(instances), instances.scores, strict=True
        )
    ]


def draw_part(image: np.ndarray, part: dict) -> np.ndarray:
    """Picture of an image, uint8 BGR, with its sure and its unsure cells, from `as_part`."""
    crops = [[], []]
    for row in part["annotations"]:
        crops[row["iscrowd"]].append(rle_crop(row["segmentation"]))
    groups = [("unsure", UNSURE, crops[1]), ("sure", SURE, crops[0])]
    return draw_groups(image, "pseudo labels:", groups)


def reason_to_leave_out(part: dict, least_cells: int, least_mean_score: float) -> str | None:
    """Why an image is not trained on, if so."""
    scores = [row["score"] for row in part["annotations"] if not row["iscrowd"]]
    if len(scores) < least_cells:
        return f"{len(scores)} cells"
    if scores and np.mean(scores) < least_mean_score:
        return f"mean score {np.mean(scores):.3f}"
    return None


def next_round(original: dict, parts: Mapping[str, dict], info: Mapping) -> dict:
    """The annotation file of the next round.

    Args:
        original: COCO training annotations, which stay as they are; but an image that is
            pseudo-labelled in them already is replaced where it is among `parts`.
        parts: `as_part` of each new image by its `file_name`.
        info: how the labels were made.
    """
    replaced = {
        image["id"]
        for image in original["images"]
        if image.get("pseudo") and image["file_name"] in parts
    }
    images = [image for image in original["images"] if image["id"] not in replaced]
    rows = [row for row in original["annotations"] if row.get("image_id") not in replaced]
    taken = {image["id"] for image in images}
    number = max((row["id"] for row in rows if isinstance(row.get("id"), int)), default=0)
    category_ids = {category["name"]: category["id"] for category in original["categories"]}
    for name, part in parts.items():
        image_id = name
        while image_id in taken:
            image_id = f"pseudo {image_id}"
        size = {side: part[side] for side in ("width", "height")}
        images.append({"id": image_id, "file_name": name, **size, "pseudo": True})
        for row in part["annotations"]:
            number += 1
            category = {"category_id": category_ids[row["category"]]}
            others = {key: value for key, value in row.items() if key != "category"}
            rows.append({"id": number, "image_id": image_id, **category, **others})
    about = original.get("info") if isinstance(original.get("info"), dict) else {}
    return {
        **original,
        "info": {**about, "pseudo_labels": dict(info)},
        "images": images,
        "annotations": rows,
    }


def annotated_already(paths: Sequence[Path], annotated: Mapping[Path, str]) -> dict[Path, str]:
    """Which images are annotated, by their place or by their content.

    Args:
        paths: images.
        annotated: annotated images, with the name of the file that annotates each.

    Returns:
        For each such image the name of that file.
    """
    sizes = {path: path.stat().st_size for path in paths}
    places = {path.resolve(): name for path, name in annotated.items()}
    # equal content has equal size: most files need not be read
    alike = [path for path in annotated if path.is_file() and path.stat().st_size in sizes.values()]
    wanted = {path.stat().st_size for path in alike}
    contents = {sha256(path): annotated[path] for path in alike}
    found = {}
    for path in paths:
        name = places.get(path.resolve())
        if name is None and sizes[path] in wanted:
            name = contents.get(sha256(path))
        if name is not None:
            found[path] = name
    return found


def check_places(original: dict, path: Path, image_dir: Path) -> None:
    """Raise an `InputError` unless the original's images lie where the next training looks."""
    for image in original["images"]:
        if not (image_dir / image["file_name"]).is_file():
            raise InputError(
                f"{path}: its image {image['file_name']} is not in {image_dir}; give "
                "--train_image_dir, the folder that its file names are relative to"
            )


def check_classes(class_names: Sequence[str], original: dict) -> None:
    """Raise an `InputError` unless the models' classes are the annotations', in whatever order."""
    names = [category["name"] for category in original["categories"]]
    check_same_classes("--weights", class_names, "the annotations", names)
