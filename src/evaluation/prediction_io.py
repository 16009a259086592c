"""Predictions as COCO results JSON, written and read.

A COCO results file is a list of `image_id`, `category_id`, `segmentation` (RLE), `bbox` (x y width
height in pixels) and `score`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import torch.distributed as dist

from cells.annotations import AnnotatedImage, AnnotationSet
from cells.instances import Instances
from cells.rle import rle_crop, to_rle
from utils.files import atomic_path
from utils.script import InputError, report_problems


class ResultsWriter:
    """Writes predictions image by image, so that none stay in memory.

    Each process of a distributed run writes a part beside the final file; see `saved_results`.

    Args:
        path: the final file.
        category_ids: of the annotation file, by label.
        rank: number of this process.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, path: str | Path, category_ids: Sequence[int], rank: int = 0) -> None:
        self.path = Path(path)
        self._category_ids = category_ids
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(_part(self.path, rank), "w", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"--out {path}: cannot be written ({error.strerror}); choose another file"
            ) from error

    def write(self, record: AnnotatedImage, instances: Instances, rles: Sequence[dict]) -> None:
        """Add the instances of one image (one line of the part, empty without any)."""
        boxes = instances.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        rows = zip(
            instances.labels.tolist(), rles, boxes.tolist(), instances.scores.tolist(), strict=True
        )
        line = ",".join(
            json.dumps(
                {
                    "image_id": record.id,
                    "category_id": self._category_ids[label],
                    "segmentation": rle,
                    "bbox": box,
                    "score": score,
                }
            )
            for label, rle, box, score in rows
        )
        self._file.write(line + "\n")

    def close(self) -> None:
        """Finish the part."""
        self._file.close()


@contextmanager
def saved_results(
    path: str | Path | None, category_ids: Sequence[int], rank: int = 0, world: int = 1
) -> Iterator[ResultsWriter | None]:
    """Yield a writer (None without a path); the file is there when all processes are through.

    Raises:
        InputError: the folder cannot be written to.
    """
    if path is None:
        yield None
        return
    writer = ResultsWriter(path, category_ids, rank)
    try:
        yield writer
    except BaseException:
        writer.close()
        _part(Path(path), rank).unlink()
        raise
    writer.close()
    if world > 1:
        dist.barrier()
    if rank == 0:
        _merge(path, world)


def _merge(path: str | Path, world: int) -> None:
    """Join the parts of all processes in the order of the images, and remove them."""
    parts = [_part(Path(path), rank) for rank in range(world)]
    files = [open(part, encoding="utf-8") for part in parts]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as merged:
        separator = "["
        # process r had images r, r + world, r + 2 world ...: one line of each in turn
        for line in chain.from_iterable(zip_longest(*files, fillvalue="\n")):
            if line != "\n":
                merged.write(separator + line.rstrip("\n"))
                separator = ",\n"
        merged.write("[]" if separator == "[" else "]")
    for file, part in zip(files, parts, strict=True):
        file.close()
        part.unlink()


def _part(path: Path, rank: int) -> Path:
    return path.with_name(f".{path.name}.part{rank}")


class Results:
    """COCO results by image id, kept as RLE and decoded when asked for.

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
        self._records = {record.id: record for record in truth.images}
        id_of = {str(image_id): image_id for image_id in self._records}
        label_of = {category: label for label, category in enumerate(truth.category_ids)}
        self._rows: dict[str | int, list[tuple]] = defaultdict(list)
        problems = []
        for number, row in enumerate(_read_rows(path)):
            try:
                record = self._records[_lookup(id_of, str(row.get("image_id")), "image_id")]
                label = _lookup(label_of, row.get("category_id"), "category_id")
                self._rows[record.id].append((label, *_checked(row, record)))
            except ValueError as error:
                problems.append(f"prediction {number} (image {row.get('image_id')!r}): {error}")
        report_problems(f"--predictions {path}", problems, skip_invalid, "prediction")

    def __getitem__(self, image_id: str | int) -> Instances:
        record, rows = self._records[image_id], self._rows.get(image_id, [])
        crops = [rle_crop(rle) for _, _, _, rle in rows]
        return certain_instances(
            record,
            labels=[label for label, _, _, _ in rows],
            scores=[score for _, score, _, _ in rows],
            boxes=[box for _, _, box, _ in rows],
            crops=[crop for crop, _ in crops],
            offsets=[offset for _, offset in crops],
        )


def _read_rows(path: str | Path) -> list[dict]:
    remedy = "give a COCO results file (a JSON list) or a folder of label images"
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"--predictions {path}: no such file or folder; {remedy}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"--predictions {path}: no readable JSON ({error}); {remedy}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"--predictions {path}: is no list of predictions; {remedy}")
    return rows


def _lookup(table: dict, key: object, name: str) -> object:
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
        raise ValueError(f"score {score!r} is no number")
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def certain_instances(
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
