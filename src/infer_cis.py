"""Segment the cells of one image (or of many) with an ensemble of models.

    python src/infer_cis.py
    python src/infer_cis.py --image my_image.tif
    python src/infer_cis.py --image 'folder/*.png' --save labels rois csv --out_dir results
    python src/infer_cis.py --image X --weights 'a.pth b.pth'

Writes <out_dir>/<image name>: the image with the cells' outlines and scores (in percent).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cells.exports.formats import FORMATS
from utils.options import (
    add_compute_options,
    add_prediction_options,
    add_second_level_arguments,
    add_weights_option,
    script_parser,
)
from utils.paths import choose_weights, default_second_level, demo_image, list_images, output_names
from utils.script import InputError, print_error, quick_start, quiet_libraries, run_script
from utils.stages import StageTimer, peak_memory_mb

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np

    from cells.instances import Instances
    from network.detector import NetworkInput
    from network.ensemble import Detections, Ensemble
    from second_level.model import SecondLevel

GPU_BATCH = 4  # images of one size that a GPU sees at once


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
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
    if not args.second_level and args.second_level_model:
        raise InputError("--no_2nd_level and --2nd_level_model: give one of them")
    weights = choose_weights(args.weights)
    images = list_images(args.image or [demo_image()])
    quiet_libraries()
    with quick_start():
        from network.ensemble import ensemble_from
        from second_level.model import second_level_from

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
            print_error(error)
    print_times(timer, len(images) - failures, time.perf_counter() - start)
    if args.verbose:
        print(f"  peak memory: {peak_memory_mb()} MB")
    if failures:
        raise InputError(f"{failures} of {len(images)} images failed, see above; the rest is done")


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
