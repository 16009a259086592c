"""COCO instance annotations: loading, checking and normalising to one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from cells.grey import AS_STORED, GreyRule
from cells.images import image_shape, read_image
from cells.instances import dominant_class
from cells.rle import to_rle
from utils.files import read_json
from utils.script import InputError, report_problems
from utils.stages import load_ahead

LARGEST_SIDE = 10**6  # of an image, in pixels
NO_TYPE = -1  # cell type of an image without cells


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with its true instances; arrays and `rles` have length N.

    Attributes:
        id: the id in the annotation file, str or int as it stands there.
        path: where the image lies.
        image_size: (height, width) in pixels.
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels, the tight box of each mask.
        labels: int64 [N], index into the class names.
        rles: COCO RLE of each mask, `counts` as bytes.
        iscrowd: bool [N].
    """

    id: str | int
    path: Path
    image_size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    rles: list[dict]
    iscrowd: np.ndarray

    @property
    def cell_type(self) -> int:
        """The most frequent class of the single cells, or `NO_TYPE` without any."""
        labels = self.labels[~self.iscrowd]
        return dominant_class(labels) if len(labels) else NO_TYPE

    @property
    def cell_rles(self) -> list[dict]:
        """RLEs of the single cells, without crowd regions."""
        return [self.rles[i] for i in np.flatnonzero(~self.iscrowd)]

    @property
    def crowd_rles(self) -> list[dict]:
        """RLEs of the crowd regions."""
        return [self.rles[i] for i in np.flatnonzero(self.iscrowd)]


@dataclass(frozen=True)
class AnnotationSet:
    """The images of one annotation file with the class names in the order of their category ids."""

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: list[AnnotatedImage]


def check_same_classes(
    source: str,
    names: Sequence[str],
    expected_from: str,
    expected: Sequence[str],
    same_order: bool = False,
) -> None:
    """Refuse data or models whose classes are not those that they are used with.

    Args:
        source: flag or file that is at fault, for the message.
        names: its class names.
        expected_from: whose classes it has to have, for the message.
        expected: their class names.
        same_order: labels are compared too, so the order counts.

    Raises:
        InputError: the names differ.
    """
    if list(names) == list(expected) or (not same_order and set(names) == set(expected)):
        return
    order = ", in this order" if same_order else ""
    raise InputError(
        f"{source}: its classes ({', '.join(names)}) are not those of {expected_from} "
        f"({', '.join(expected)}){order}; give what belongs together"
    )


def annotation_file(annotation_dir: str | Path, split: str, fold: int) -> Path:
    """`annotations_{train,valid}_{fold}.json`, the solution's naming."""
    return Path(annotation_dir) / f"annotations_{split}_{fold}.json"


def load_annotations(
    path: str | Path, image_dir: str | Path, skip_invalid: bool = False
) -> AnnotationSet:
    """Load a COCO annotation file and check everything in it, the images on disk included.

    Polygons, compressed and uncompressed RLE all load. Checked: images missing, unreadable or of
    another size than recorded, unknown categories and images, empty, degenerate or out-of-range
    masks, RLE sizes, duplicate ids.

    Args:
        path: COCO JSON with `images`, `annotations` and `categories`.
        image_dir: folder that the `file_name` of each image is relative to.
        skip_invalid: leave invalid images and annotations out instead of raising.

    Raises:
        InputError: the file is missing or not COCO, or there are problems (all in `details`)
            and `skip_invalid` is False, or nothing valid is left.
    """
    path, image_dir = Path(path), Path(image_dir)
    coco = read_coco(path)
    categories = sorted(coco["categories"], key=lambda category: category["id"])
    label_of = {category["id"]: label for label, category in enumerate(categories)}
    problems = repeated_ids(coco, ("images", "annotations", "categories"))
    usable, image_problems = _check_images(coco["images"], image_dir)
    problems += image_problems
    instances: dict[str | int, list[tuple[int, dict, bool]]] = {key: [] for key in usable}
    listed = {record["id"] for record in coco["images"]}
    for annotation in coco["annotations"]:
        where = f"annotation {annotation.get('id')}"
        image_id = annotation.get("image_id")
        if image_id not in listed:
            problems.append(f"{where}: image_id {image_id!r} is not among the images")
        elif annotation.get("category_id") not in label_of:
            problems.append(f"{where}: unknown category_id {annotation.get('category_id')!r}")
        elif image_id in usable:  # the problem of an unusable image is reported once, above
            height, width = usable[image_id]["height"], usable[image_id]["width"]
            try:
                rle = to_rle(annotation.get("segmentation"), height, width)
            except ValueError as error:
                problems.append(f"{where} (image {image_id}): {error}")
            else:
                label = label_of[annotation["category_id"]]
                instances[image_id].append((label, rle, bool(annotation.get("iscrowd", 0))))
    report_problems(str(path), problems, skip_invalid)
    if not usable:
        raise InputError(
            f"{path}: no usable image in it; check the file and --image_dir {image_dir}"
        )
    return AnnotationSet(
        class_names=tuple(category["name"] for category in categories),
        category_ids=tuple(category["id"] for category in categories),
        images=[_annotated(record, image_dir, instances[key]) for key, record in usable.items()],
    )


def read_coco(path: Path) -> dict:
    remedy = "give a COCO instance annotation file (see README, 'Your own data')"
    content = read_json(path, str(path), remedy, "annotation file")
    coco: dict = content if isinstance(content, dict) else {}
    keys = {
        "images": {"id", "file_name", "width", "height"},
        "annotations": set(),
        "categories": {"id", "name"},
    }
    for key, fields in keys.items():
        rows = coco.get(key)
        if not isinstance(rows, list):
            raise InputError(f"{path}: no list '{key}' in it; {remedy}")
        for row in rows:
            if not isinstance(row, dict) or not fields <= row.keys():
                raise InputError(
                    f"{path}: an entry of '{key}' lacks one of {sorted(fields)}; {remedy}"
                )
    if not coco["categories"]:
        raise InputError(f"{path}: 'categories' is empty; {remedy}")
    try:
        _check_values(coco)
    except ValueError as error:
        raise InputError(f"{path}: {error}; {remedy}") from error
    return coco


def _check_values(coco: dict) -> None:
    """Check the kinds of values; whole numbers written as 128.0 become ints, in place.

    As ids, too: results that are written for them would not be found again.

    Raises:
        ValueError: names the entry.
    """
    for number, image in enumerate(coco["images"]):
        where = f"entry {number} of 'images'"
        image["id"] = whole_number(image["id"])
        if not _is_id(image["id"]):
            raise ValueError(
                f"{where}: the id {image['id']!r:.40} is neither a whole number nor a text"
            )
        if not isinstance(image["file_name"], str) or not image["file_name"].strip():
            raise ValueError(f"{where}: the file_name {image['file_name']!r:.40} is not a name")
        for side in ("width", "height"):
            value = image[side]
            if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
                raise ValueError(f"{where}: the {side} {value!r:.40} is not a whole number")
            if not 1 <= value <= LARGEST_SIDE:
                raise ValueError(f"{where}: the {side} {value!r:.40} is out of range")
            image[side] = int(value)
    for number, category in enumerate(coco["categories"]):
        where = f"entry {number} of 'categories'"
        category["id"] = whole_number(category["id"])
        if not _is_id(category["id"]):
            raise ValueError(
                f"{where}: the id {category['id']!r:.40} is neither a whole number nor a text"
            )
        if not isinstance(category["name"], str) or not category["name"].strip():
            raise ValueError(f"{where}: the name {category['name']!r:.40} is not a text")
    if len({isinstance(category["id"], str) for category in coco["categories"]}) > 1:
        raise ValueError("'categories' has ids of both kinds, numbers and texts")
    for annotation in coco["annotations"]:
        for name in {"id", "image_id", "category_id"} & annotation.keys():
            annotation[name] = whole_number(annotation[name])
            if not _is_id(annotation[name]):  # an id that is found nowhere
                annotation[name] = f"{annotation[name]!r:.40}"


def whole_number(value: object) -> object:
    """The value; 128.0 as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_id(value: object) -> bool:
    return isinstance(value, str | int)


def repeated_ids(coco: dict, keys: Sequence[str]) -> list[str]:
    """A line for each id that more than one entry of a list has; what refers to it is ambiguous.

    Args:
        coco: of `read_coco`.
        keys: of the lists.
    """
    problems = []
    for key in keys:
        counts = Counter(row.get("id") for row in coco[key])
        problems += [f"{key}: id {i!r} occurs {n} times" for i, n in counts.items() if n > 1]
    return problems


def _check_images(records: Sequence[dict], image_dir: Path) -> tuple[dict, list[str]]:
    """Read every image; returns the usable records by id and the problems of the others."""

    def problem(record: dict) -> str | None:
        try:
            height, width = image_shape(image_dir / record["file_name"])
        except InputError as error:
            return str(error)
        except (OSError, ValueError) as error:  # a name that no file can have
            return f"{record['file_name']!r:.60}: cannot be read ({error})"
        if (height, width) != (record["height"], record["width"]):
            recorded = f"{record['width']} x {record['height']}"
            return (
                f"{image_dir / record['file_name']}: is {width} x {height}, recorded as {recorded}"
            )
        return None

    with ThreadPoolExecutor() as pool:
        bar = tqdm(
            pool.map(problem, records), total=len(records), desc="checking images", leave=False
        )
        problems = list(bar)
    usable = {r["id"]: r for r, bad in zip(records, problems, strict=True) if bad is None}
    return usable, [bad for bad in problems if bad is not None]


def _annotated(
    record: dict, image_dir: Path, instances: list[tuple[int, dict, bool]]
) -> AnnotatedImage:
    rles = [rle for _, rle, _ in instances]
    boxes = coco_mask.toBbox(rles).reshape(-1, 4) if rles else np.zeros((0, 4))
    boxes[:, 2:] += boxes[:, :2]
    return AnnotatedImage(
        id=record["id"],
        path=image_dir / record["file_name"],
        image_size=(record["height"], record["width"]),
        boxes=boxes.astype(np.float32),
        labels=np.array([label for label, _, _ in instances], np.int64),
        rles=rles,
        iscrowd=np.array([crowd for _, _, crowd in instances], bool),
    )


def read_ahead(
    records: Iterable[AnnotatedImage], grey_rule: GreyRule = AS_STORED
) -> Iterator[tuple[AnnotatedImage, np.ndarray]]:
    """Records with their images; the next image is read while the last one is worked on."""
    for record, image in load_ahead(records, lambda record: read_image(record.path, grey_rule)):
        yield record, image.result()
