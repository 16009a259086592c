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
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cells.exports.formats import FORMATS
from second_level.options import (
    BUNDLED_SECOND_LEVEL,
    PUBLISHED_SECOND_LEVEL,
    add_second_level_arguments,
    second_level_from,
)
from utils.options import (
    add_compute_options,
    add_prediction_options,
    add_weights_option,
    check_prediction_options,
    ensemble_from,
)
from utils.paths import PUBLISHED_MODELS, list_images, output_names, split_paths
from utils.script import (
    InputError,
    StageTimer,
    peak_memory_mb,
    quick_start,
    quiet_libraries,
    run_script,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np

    from cells.instances import Instances
    from network.detector import NetworkInput
    from network.ensemble import Detections, Ensemble
    from second_level.model import SecondLevel

BUNDLED_MODELS = ["models/demo_model_1.pth", "models/demo_model_2.pth"]
GPU_BATCH = 4  # images of one size that a GPU sees at once
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
        choices=FORMATS,
        help="further files: "
        + ", ".join(f"{name} = {kind.description}" for name, kind in FORMATS.items()),
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
    quiet_libraries()
    with quick_start():
        ensemble = ensemble_from(args, weights)
        usual = default_second_level(weights)
        second_level = second_level_from(args, usual) if args.second_level else None
    if args.verbose:
        print(f"models: {', '.join(weights)}; {ensemble.device}; {ensemble.post_processing}")
    timer = StageTimer()
    start = time.perf_counter()
    failures = 0
    for path, written in segment_files(ensemble, second_level, images, args, timer):
        try:
            print(f"{path} -> {written.result()}")
        except InputError as error:
            if len(images) == 1:
                raise
            failures += 1
            print(f"error: {error}", file=sys.stderr)
    print_times(timer, len(images) - failures, time.perf_counter() - start)
    if args.verbose:
        print(f"  peak memory: {peak_memory_mb()} MB")
    if failures:
        raise InputError(f"{failures} of {len(images)} images failed, see above; the rest is done")


def choose_weights(weights: list[str] | None) -> list[str]:
    """Paths as given, or the published models where they are, or the bundled ones."""
    if weights is not None:
        return split_paths(weights)
    if all(Path(path).is_file() for path in PUBLISHED_MODELS):
        return PUBLISHED_MODELS
    print(
        "Using the small bundled demonstration models; bash download_models.sh fetches the "
        "published ones, which are then used instead (see README, 'Models')."
    )
    return BUNDLED_MODELS


def default_second_level(weights: list[str]) -> str | None:
    """The 2nd-level model that belongs to the models that are used by default, where it is there.

    It knows the mistakes of the models that it was trained with, not those of others.
    """
    for models, second_level in (
        (PUBLISHED_MODELS, PUBLISHED_SECOND_LEVEL),
        (BUNDLED_MODELS, BUNDLED_SECOND_LEVEL),
    ):
        if weights == models and Path(second_level).is_file():
            return second_level
    return None


def segment_files(
    ensemble: Ensemble,
    second_level: SecondLevel | None,
    images: list[Path],
    args: argparse.Namespace,
    timer: StageTimer,
) -> Iterator[tuple[Path, Future[str]]]:
    """Segment images and write the results; the next one is read while the last one is written.

    Yields:
        Each image with the future of a summary.
    """
    from cells.drawing import draw_instances
    from cells.exports.picture import write_picture
    from cells.exports.segmented import SegmentedImage
    from cells.exports.writers import WRITERS
    from cells.images import read_image
    from utils.stages import process

    pictures = {
        path: Path(args.out_dir) / name
        for path, name in zip(images, output_names(images), strict=True)
    }

    def load(path: Path) -> tuple[np.ndarray, list[NetworkInput]]:
        with timer.stage("read"):
            image = read_image(path)
        return image, ensemble.prepare(image, timer)

    def compute(loaded: Sequence[tuple[np.ndarray, list[NetworkInput]]]) -> list[Detections]:
        return ensemble.detect([prepared for _, prepared in loaded], timer)

    def finish(path: Path, loaded: tuple, detections: Detections) -> str:
        image, picture = loaded[0], pictures[path]
        instances = ensemble.finish(detections, timer)
        if second_level:
            with timer.stage("2nd level"):
                instances = second_level.rescore(instances, image)
        with timer.stage("write"):
            segmented = SegmentedImage(
                picture.stem, path.name, image, instances, ensemble.class_names
            )
            for name in args.save:
                output = picture.with_name(picture.stem + FORMATS[name].suffix)
                WRITERS[name](output, segmented)
            write_picture(picture, draw_instances(image, instances))
        return f"{picture}: {summary(instances, ensemble.class_names)}"

    batch_size = GPU_BATCH if ensemble.device.type == "cuda" else 1
    return process(images, load, compute, finish, lambda loaded: loaded[0].shape, batch_size)


def print_times(timer: StageTimer, count: int, seconds: float) -> None:
    """Seconds of each stage; for several images the mean, and how many a second were done."""
    if not count:
        return
    means = {name: total / count for name, total in timer.seconds.items()}
    print("  " + ", ".join(f"{name} {mean:.2f} s" for name, mean in means.items()))
    if count > 1:
        print(f"  {count} images in {seconds:.1f} s, {count / seconds:.2f} images/s")


def summary(instances: Instances, class_names: tuple[str, ...]) -> str:
    """For example `12 cells (12 cort), mean score 0.87`."""
    if not len(instances):
        return "no cells found"
    counts = [int((instances.labels == label).sum()) for label in range(len(class_names))]
    by_class = ", ".join(f"{n} {name}" for n, name in zip(counts, class_names, strict=True) if n)
    return f"{len(instances)} cells ({by_class}), mean score {instances.scores.mean():.2f}"


if __name__ == "__main__":
    run_script(main, parse_args(), leave_at_once=True)
