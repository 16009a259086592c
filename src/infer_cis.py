"""Segment the cells of one image (or of many) with an ensemble of models.

    python src/infer_cis.py
    python src/infer_cis.py --image my_image.tif
    python src/infer_cis.py --image 'folder/*.png' --save labels rois csv --out_dir results
    python src/infer_cis.py --image X --weights 'a.pth b.pth'

Writes <out_dir>/<image name>: the image with the cells' outlines and scores (in percent).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utils.inputs import PUBLISHED_MODELS, list_images, output_names, split_paths
from utils.options import (
    add_compute_options,
    add_prediction_options,
    add_weights_option,
    check_prediction_options,
)
from utils.runtime import (
    InputError,
    StageTimer,
    peak_memory_mb,
    quick_start,
    quiet_libraries,
    run_script,
)
from utils.second_level_options import (
    USUAL_MODEL,
    add_second_level_arguments,
    second_level_from,
)

if TYPE_CHECKING:
    from utils.ensemble import Ensemble
    from utils.instances import Instances
    from utils.second_level import SecondLevel

BUNDLED_MODELS = ["models/demo_model_1.pth", "models/demo_model_2.pth"]
DEMO_IMAGES = ["demo_images/7ae19de7bc2a.png", "demo_images/simulated_shsy5y.png"]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--image", nargs="+", help="image file(s), folder(s) or pattern(s); default: a demo image")
    add_weights_option(parser, default=None)
    add("--out_dir", default="demo_outputs", help="folder of the results (default: %(default)s)")
    add(
        "--save",
        nargs="+",
        default=[],
        choices=("labels", "rois", "coco", "csv"),
        help="further files: label image (TIFF), ImageJ ROIs (zip), COCO JSON, measurements (CSV)",
    )
    add_prediction_options(parser)
    add_second_level_arguments(parser)
    add("--no_2nd_level", dest="second_level", action="store_false", help="scores of the models")
    add_compute_options(parser)
    add("-v", "--verbose", action="store_true", help="also print models, thresholds and memory")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    check_prediction_options(args)
    if not args.second_level and args.second_level_model:
        raise InputError("--no_2nd_level and --2nd_level_model: give one of them")
    weights = choose_weights(args.weights)
    images = list_images(args.image or [next(path for path in DEMO_IMAGES if Path(path).is_file())])
    with quick_start():
        ensemble = build_ensemble(weights, args)
        usual = default_second_level(weights)
        second_level = second_level_from(args, usual) if args.second_level else None
    failures = 0
    for path, name in zip(images, output_names(images), strict=True):
        try:
            segment_file(ensemble, second_level, path, Path(args.out_dir) / name, args.save)
            if args.verbose:
                print(f"  peak memory so far: {peak_memory_mb()} MB")
        except InputError as error:
            if len(images) == 1:
                raise
            failures += 1
            print(f"error: {error}", file=sys.stderr)
    if failures:
        raise InputError(f"{failures} of {len(images)} images failed, see above; the rest is done")


def choose_weights(weights: list[str] | None) -> list[str]:
    """Paths as given, or the published models where they are, or the bundled ones."""
    if weights is not None:
        return split_paths(weights)
    if all(Path(path).is_file() for path in PUBLISHED_MODELS):
        return PUBLISHED_MODELS
    print(
        "Using the small bundled demonstration models; better ones are used once they lie at "
        f"{' and '.join(PUBLISHED_MODELS)} (see README, 'Models')."
    )
    return BUNDLED_MODELS


def default_second_level(weights: list[str]) -> str | None:
    """The 2nd-level model in its usual place, for the models that are used by default.

    It knows the mistakes of the models that it was trained with, not those of others.
    """
    usual = weights in (BUNDLED_MODELS, PUBLISHED_MODELS) and Path(USUAL_MODEL).is_file()
    return USUAL_MODEL if usual else None


def build_ensemble(weights: list[str], args: argparse.Namespace) -> Ensemble:
    """Load the models onto the device that the arguments ask for."""
    quiet_libraries()
    from utils.ensemble import load_ensemble
    from utils.runtime import resolve_device, resolve_precision

    device = resolve_device(args.device)
    dtype = resolve_precision(args.precision, device)
    ensemble = load_ensemble(weights, device, dtype, score_thr=args.score_thr, tta=args.tta)
    if args.verbose:
        print(f"models: {', '.join(weights)}; {device}, {dtype}; {ensemble.post_processing}")
    return ensemble


def segment_file(
    ensemble: Ensemble,
    second_level: SecondLevel | None,
    path: Path,
    picture: Path,
    save: list[str],
) -> None:
    """Segment one image, write the results beside `picture`, and print a summary."""
    from utils.images import read_image
    from utils.outputs import WRITERS, write_picture
    from utils.visualization import draw_instances

    timer = StageTimer()
    with timer.stage("read"):
        image = read_image(path)
    instances = ensemble.predict(image, timer)
    if second_level:
        with timer.stage("2nd level"):
            instances = second_level.rescore(instances, image)
    with timer.stage("write"):
        for name in save:
            suffix, write = WRITERS[name]
            write(picture.with_name(picture.stem + suffix), image, instances, ensemble.class_names)
        write_picture(picture, draw_instances(image, instances))
    print(f"{path} -> {picture}: {summary(instances, ensemble.class_names)}")
    print("  " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in timer.seconds.items()))


def summary(instances: Instances, class_names: tuple[str, ...]) -> str:
    """For example `12 cells (12 cort), mean score 0.87`."""
    if not len(instances):
        return "no cells found"
    counts = [int((instances.labels == label).sum()) for label in range(len(class_names))]
    by_class = ", ".join(f"{n} {name}" for n, name in zip(counts, class_names, strict=True) if n)
    return f"{len(instances)} cells ({by_class}), mean score {instances.scores.mean():.2f}"


if __name__ == "__main__":
    run_script(main, parse_args(), leave_at_once=True)
