r"""Label unlabelled images with models, as training data of the next round.

    python src/make_pseudo_labels.py --image_dir data/images/unlabelled --weights 'a.pth b.pth' \
        --annotation_dir data/original --out_dir data/annotations_semi_supervised_round1

Writes annotations_train_<fold>.json into --out_dir: the annotations of --annotation_dir as they
are, and what the models find in the images. Cells that they are unsure of become crowd regions,
which training ignores. annotations_valid_<fold>.json is copied. Killed and started again, it goes
on where it was.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from second_level.pairing import find_second_level, hash_weights
from utils.files import (
    atomic_path,
    check_folder,
    read_json,
    remove_leftovers,
    sha256,
    write_json,
)
from utils.options import (
    add_compute_options,
    add_prediction_options,
    add_second_level_arguments,
    add_weights_option,
    at_least,
    between,
    script_parser,
    thresholds_by_class,
)
from utils.paths import list_images, split_paths
from utils.script import InputError, one_line, quiet_libraries, run_script

# Options that an image's labels do not depend on; models count by their content.
NOT_OF_THE_LABELS = {
    *("image_dir", "train_image_dir", "annotation_dir", "out_dir", "fold", "weights", "threads"),
    *("device", "compile", "least_cells", "least_mean_score", "show_dir"),
    *("second_level_model", "second_level_features"),
}


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add(
        "--image_dir",
        nargs="+",
        required=True,
        help="unlabelled images: folder(s), file(s) or pattern(s)",
    )
    add_weights_option(parser)
    add("--annotation_dir", required=True, help="folder of the annotations to add to")
    add("--out_dir", required=True, help="folder of the next round's annotations")
    add("--fold", type=int, default=0, help="number in the annotation files' names")
    add(
        "--train_image_dir",
        default="data/images",
        help="what train_cis.py will get as --image_dir; file names are relative to it "
        "(default: %(default)s)",
    )
    add(
        "--least_score",
        nargs="+",
        default=[],
        metavar="CLASS=SCORE",
        help="of a sure cell; the image's most frequent class counts, as in inference "
        "(default: the models' thresholds, or 0.5 with --second_level)",
    )
    add(
        "--known_class",
        metavar="CLASS",
        help="what all cells of these images are, whatever the models call them",
    )
    add(
        "--unsure_share",
        type=between(0.0, 1.0),
        default=0.5,
        metavar="SHARE",
        help="cells from this share of the least score on are unsure (default: %(default)s; 1: "
        "none is)",
    )
    add(
        "--least_mean_score",
        type=between(0.0, 1.0),
        default=0.0,
        metavar="SCORE",
        help="leave images out whose sure cells have a lower mean score (default: %(default)s)",
    )
    add(
        "--least_cells",
        type=at_least(1),
        default=1,
        metavar="N",
        help="leave images with fewer sure cells out (default: %(default)s)",
    )
    add(
        "--second_level",
        action="store_true",
        help="let the second-level model decide that belongs to the models (another: "
        "--2nd_level_model)",
    )
    add("--show_dir", help="folder for pictures of sure and unsure cells, to be looked at")
    add_second_level_arguments(parser)
    add_prediction_options(parser)
    add_compute_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from cells.annotations import annotation_file, read_coco
    from training.pseudo_labels import next_round, reason_to_leave_out

    check_folder("--out_dir", args.out_dir)
    check_folder("--show_dir", args.show_dir)
    sources = {s: annotation_file(args.annotation_dir, s, args.fold) for s in ("train", "valid")}
    targets = {s: annotation_file(args.out_dir, s, args.fold) for s in ("train", "valid")}
    check_targets(targets, sources)
    coco = {split: read_coco(path) for split, path in sources.items()}
    images = unlabelled_images(args, coco, sources)
    parts, problems, made_with = label_images(args, images, coco["train"])
    limits = args.least_cells, args.least_mean_score
    left_out = {name: reason_to_leave_out(part, *limits) for name, part in parts.items()}
    used = {name: part for name, part in parts.items() if left_out[name] is None}
    print_summary(used, {name: reason for name, reason in left_out.items() if reason})
    if not used:
        raise InputError("--image_dir: no image with labels; see above, and --help", problems)
    if args.show_dir:
        write_pictures(Path(args.show_dir), images, used, args.train_image_dir)
    made_with.update(least_cells=args.least_cells, least_mean_score=args.least_mean_score)
    remove_leftovers(targets.values())
    with atomic_path(targets["valid"]) as temporary:
        shutil.copyfile(sources["valid"], temporary)
    round_ = next_round(coco["train"], used, made_with)
    write_json(targets["train"], round_, indent=None)
    print(f"{targets['train']}: {len(round_['images'])} images, {len(used)} of them new")
    if problems:
        count = f"{len(problems)} of {len(images)} images"
        raise InputError(f"{count} failed, see above; the rest is done", problems)


def check_targets(targets: dict[str, Path], sources: dict[str, Path]) -> None:
    """Refuse to write over annotations that are no earlier result of this script.

    Raises:
        InputError: names `--out_dir`.
    """
    path = targets["train"]
    if path.resolve() == sources["train"].resolve():
        raise InputError("--out_dir: is --annotation_dir, whose files stay as they are; name a new")
    if path.is_file():
        content = read_json(path, str(path), "name another --out_dir")
        info = content.get("info") if isinstance(content, dict) else None
        if not isinstance(info, dict) or "pseudo_labels" not in info:
            raise InputError(f"--out_dir: {path} holds other annotations; name another folder")


def unlabelled_images(
    args: argparse.Namespace, coco: dict[str, dict], sources: dict[str, Path]
) -> list[Path]:
    """The images without those that are annotated; what was pseudo-labelled is labelled anew.

    Raises:
        InputError: there is none, or annotated images are not where training will look for them.
    """
    from training.pseudo_labels import annotated_already, check_places

    image_dir = Path(args.train_image_dir)
    check_places(coco["train"], sources["train"], image_dir)
    annotated = {
        image_dir / image["file_name"]: sources[split].name
        for split in ("train", "valid")
        for image in coco[split]["images"]
        if not image.get("pseudo")
    }
    listed = list_images(args.image_dir, "--image_dir")
    known = annotated_already(listed, annotated)
    for name, count in Counter(known.values()).items():
        print(f"{count} of {len(listed)} images left out, which {name} has")
    if len(known) == len(listed):
        raise InputError("--image_dir: all of its images are annotated; give others")
    return [path for path in listed if path not in known]


def label_images(
    args: argparse.Namespace, images: Sequence[Path], original: dict
) -> tuple[dict[str, dict], list[str], dict]:
    """Label every image, or take what an earlier run has left.

    Returns:
        `as_part` of each image by its file name in the annotations, the problems of the images that
        could not be labelled, and what the labels were made with.
    """
    from tqdm import tqdm

    from cells.images import read_image
    from network.setup import ensemble_from
    from second_level.model import second_level_from
    from training.pseudo_labels import Rules, as_part, check_classes, find_labels
    from training.pseudo_parts import Parts
    from utils.stages import load_ahead

    weights = split_paths(args.weights)
    ensemble = ensemble_from(args, weights)
    second_level = second_level_from(args, usual_second_level(args, weights))
    if second_level:
        ensemble.lower_thresholds(second_level.detection_share)
    check_classes(ensemble.class_names, original)
    least_score = thresholds_by_class(args.least_score, ensemble.class_names, "--least_score")
    if args.known_class not in (None, *ensemble.class_names):
        names = ", ".join(ensemble.class_names)
        raise InputError(f"--known_class {args.known_class}: classes are {names}")
    rules = Rules(least_score, args.unsure_share, args.known_class)
    rescore = partial(ensemble.rescored, second_level.rescore) if second_level else None
    made_with = describe(args, weights)
    store = Parts(Path(args.out_dir) / f"pseudo_labels_{args.fold}", made_with)
    parts, problems = {}, []
    # an image that is labelled need not be read
    loaded = load_ahead(
        images, lambda path: store.load(path) or read_image(path, ensemble.grey_rule)
    )
    for path, future in tqdm(loaded, total=len(images), desc="labelling"):
        try:
            part = future.result()
            new = not isinstance(part, dict)
            if new:
                labels = find_labels(ensemble, part, rules, rescore)
                part = as_part(labels, ensemble.class_names)
        except Exception as error:  # whatever is wrong with an image, the others are labelled
            problems.append(one_line(error, path))
            continue
        if new:
            store.save(path, part)
        parts[file_name(path, args.train_image_dir)] = part
    store.forget_others()
    return parts, problems, made_with


def describe(args: argparse.Namespace, weights: Sequence[str]) -> dict:
    """All that an image's labels depend on besides the image."""
    models = {"weights": [[Path(path).name, sha256(path)] for path in weights]}
    second_level = args.second_level_model or usual_second_level(args, weights)
    if second_level:
        models["second_level_model"] = [Path(second_level).name, sha256(second_level)]
    options = {k: v for k, v in vars(args).items() if k not in NOT_OF_THE_LABELS}
    return {**models, "options": options}


def usual_second_level(args: argparse.Namespace, weights: Sequence[str]) -> str | None:
    """The 2nd-level model that belongs to the models, if `--second_level` asks for it.

    Raises:
        InputError: there is none.
    """
    if args.second_level_model or not args.second_level:
        return None
    found = find_second_level(hash_weights(weights))
    if found is None:
        raise InputError("--second_level: none belongs to these models; give --2nd_level_model")
    return found


def file_name(path: Path, image_dir: str) -> str:
    """An image's place relative to the folder that training gets, with forward slashes."""
    return Path(os.path.relpath(path, image_dir)).as_posix()


def write_pictures(
    show_dir: Path, images: Sequence[Path], used: dict[str, dict], image_dir: str
) -> None:
    """A picture of each image that is trained on, named by its file name."""
    from cells.exports.picture import write_picture
    from cells.images import read_image
    from training.pseudo_labels import draw_part

    for path in images:
        name = file_name(path, image_dir)
        if name in used:
            picture = draw_part(read_image(path), used[name])
            flat = re.sub(r"[^\w.-]", "_", name).lstrip("._")  # no hidden file
            write_picture(show_dir / f"{flat}.png", picture)


def print_summary(used: dict[str, dict], left_out: dict[str, str]) -> None:
    """Sure cells and unsure ones by class, and the images that are not trained on."""
    for name, reason in left_out.items():
        print(f"{name} left out: {reason}")
    rows = [row for part in used.values() for row in part["annotations"]]
    sure, unsure = (Counter(r["category"] for r in rows if r["iscrowd"] == i) for i in (0, 1))
    for name in sorted({*sure, *unsure}):
        print(f"{name}: {sure[name]} cells, {unsure[name]} unsure ones as crowd regions")


if __name__ == "__main__":
    run_script(main, parse_args())
