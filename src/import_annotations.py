"""Make training data of images and of cells that were corrected or drawn by hand.

    python src/import_annotations.py --image_dir images --labels results --out data/mine
    python src/import_annotations.py --image_dir images --labels cvat.json --out data/mine

--labels is a folder with a file for each image (label images, ROIs of ImageJ, GeoJSON of QuPath),
for example one that infer_cis.py --save wrote, or COCO annotations of any number of images. Writes
annotations_train_<fold>.json and annotations_valid_<fold>.json into --out, for train_cis.py with
the same --image_dir. Images without a file are left out; a file without cells says that there are
none.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cells.imports.formats import ENDINGS
from utils.files import check_folder
from utils.options import at_least, between, script_parser
from utils.script import InputError, report_problems, run_script

if TYPE_CHECKING:
    from cells.annotations import AnnotationSet
    from cells.imports.dataset import LabelledImage


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--image_dir", required=True, help="folder of the images, with the folders in it")
    add("--labels", required=True, help="folder of the cells' files, or one file")
    add("--out", required=True, help="folder of the annotation files")
    add("--format", choices=ENDINGS, help="where --labels has files of several formats")
    add(
        "--class_name",
        default="cell",
        help="class of cells whose file says none, as in label images (default: %(default)s)",
    )
    add(
        "--classes",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="all classes, in the order of the labels (default: those that occur)",
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--valid_share",
        type=between(0.0, 1.0),
        default=0.2,
        metavar="SHARE",
        help="share of the images to validate on, drawn by their names (default: %(default)s; 0: "
        "only the training file is written)",
    )
    split.add_argument(
        "--valid_dir", metavar="FOLDER", help="instead: the images in this folder of --image_dir"
    )
    split.add_argument(
        "--valid_list",
        metavar="FILE",
        help="instead: a text file with one image a line, relative to --image_dir",
    )
    add("--fold", type=at_least(0), default=0, help="number in the files' names (default: 0)")
    add("--overwrite", action="store_true", help="replace annotation files of --out")
    add("--skip_invalid", action="store_true", help="leave files and cells out that are invalid")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from cells.annotations import annotation_file
    from cells.imports.dataset import write_annotations
    from runs.label_files import find_label_files, list_sources
    from runs.labelled_images import read_labelled

    check_folder("--out", args.out)
    image_dir, labels = Path(args.image_dir), Path(args.labels)
    targets = {s: annotation_file(args.out, s, args.fold) for s in ("train", "valid")}
    sources = list_sources(image_dir, labels)
    files = find_label_files(labels, sources, image_dir, args.format)
    check_targets(targets.values(), [*files.of_image.values(), *files.collections], args.overwrite)
    found = read_labelled(sources, files, args.classes, args.class_name)
    report_problems(f"--labels {labels}", found.problems, args.skip_invalid, "label")
    if not found.images:
        raise InputError(f"--labels {labels}: no image is left; see above")
    valid = validation_images(args, found.images)
    parts = {
        targets["train"]: [image for image in found.images if image.file_name not in valid],
        targets["valid"]: [image for image in found.images if image.file_name in valid],
    }
    wanted = {path: images for path, images in parts.items() if images}
    written = write_annotations(wanted, found.class_names, image_dir)
    for path, loaded in written.items():
        print(f"{path}: {summary(loaded)}")
    if len(found.images) < len(sources):
        print(f"{len(sources) - len(found.images)} of {len(sources)} images left out: no labels")
    for path in parts.keys() - wanted.keys():
        state = "stays as it was" if path.exists() else "is not written"
        print(f"{path} {state}: no image is for it (--valid_share)")


def check_targets(targets: Sequence[Path], sources: Sequence[Path], overwrite: bool) -> None:
    """Refuse to write over what is imported, or over annotations that may have taken long.

    Raises:
        InputError: a file of this name is there.
    """
    read = {path.resolve() for path in sources}
    for path in targets:
        if path.resolve() in read:
            raise InputError(f"--out: {path} is imported itself; choose another folder")
        if path.exists() and not overwrite:
            raise InputError(f"--out: {path} is there already; choose another or --overwrite")


def validation_images(args: argparse.Namespace, images: Sequence[LabelledImage]) -> set[str]:
    """Names of the images to validate on, as the options say.

    Raises:
        InputError: the folder holds none of them, or the list names others.
    """
    from cells.imports.dataset import split_by_share

    names = [image.file_name for image in images]
    if args.valid_dir is not None:
        folder = args.valid_dir.strip("/")
        chosen = {name for name in names if name.startswith(f"{folder}/")}
        if not chosen:
            raise InputError(f"--valid_dir {args.valid_dir}: no labelled image is in it")
        return chosen
    if args.valid_list is not None:
        return listed_images(Path(args.valid_list), names)
    return split_by_share(names, args.valid_share)


def listed_images(path: Path, names: Sequence[str]) -> set[str]:
    """The images that a text file lists.

    Raises:
        InputError: it cannot be read, or lists an image that has no labels.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"--valid_list {path}: cannot be read ({error})") from error
    listed = [line.strip().replace("\\", "/") for line in lines if line.strip()]
    known = set(names)
    unknown = [name for name in listed if name not in known]
    if unknown or not listed:
        raise InputError(
            f"--valid_list {path}: {len(unknown)} of {len(listed)} are no labelled images of "
            f"--image_dir; give one a line, for example {names[0]}",
            [f"not labelled: {name}" for name in unknown],
        )
    return set(listed)


def summary(loaded: AnnotationSet) -> str:
    """For example `4 images, 120 cells (80 astro, 40 cort)`."""
    counts = Counter(loaded.class_names[label] for image in loaded.images for label in image.labels)
    by_class = ", ".join(f"{counts[name]} {name}" for name in loaded.class_names)
    return f"{len(loaded.images)} images, {counts.total()} cells ({by_class})"


if __name__ == "__main__":
    run_script(main, parse_args())
