"""Segment the cells of one image (or of many) with an ensemble of models.

    python src/infer_cis.py
    python src/infer_cis.py --image my_image.tif
    python src/infer_cis.py --image 'folder/*.png' --save labels rois csv --out_dir results
    python src/infer_cis.py --image folder --recursive --out_dir results --skip_existing
    python src/infer_cis.py --image X --weights 'a.pth b.pth'
    torchrun --nproc_per_node 2 src/infer_cis.py --image folder --out_dir results

Writes <out_dir>/<image name>: the image with the cells' outlines and scores (in percent), and
summary.csv and run.json of all images.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cells.exports.formats import FORMATS
from cells.planes import PlaneChoice
from runs.plan import PlannedImage, files_of_run, plan_run
from runs.records import Records, settings_key
from runs.sharing import Share, share_option
from second_level.pairing import find_second_level, hash_weights
from utils.files import check_folder
from utils.options import (
    add_compute_options,
    add_image_options,
    add_prediction_options,
    add_second_level_arguments,
    add_weights_option,
    check_second_level_arguments,
    script_parser,
)
from utils.paths import choose_weights, demo_image, macos_notes, printable
from utils.script import InputError, one_line, print_error, quick_start, quiet_libraries, run_script
from utils.stages import StageTimer, peak_memory_mb

if TYPE_CHECKING:
    from cells.images import ImageOptions
    from network.tiling import TiledEnsemble
    from second_level.model import SecondLevel

# Options that do not change what is found in an image, or that are recorded by their content.
NEUTRAL = (
    "image recursive out_dir save report skip_existing shard device threads compile verbose "
    "weights second_level_model second_level_features"
).split()
SCALE_TRIALS = 5  # images that may show no cells before --estimate_scale gives up


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--image", nargs="+", help="image file(s), folder(s) or pattern(s); default: a demo image")
    add("--recursive", action="store_true", help="also the images in the folders of a folder")
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
    add("--report", action="store_true", help="also report.html: pictures, distributions, table")
    add(
        "--skip_existing",
        action="store_true",
        help="leave out images that were segmented with the same models and settings already",
    )
    add(
        "--shard",
        type=share_option,
        default=Share(),
        metavar="i/n",
        help="only the i-th of n shares of the images, for n machines that share --out_dir",
    )
    add_image_options(parser)
    add(
        "--estimate_scale",
        action="store_true",
        help="find --scale by looking at the middle of one of the images at several",
    )
    add_prediction_options(parser)
    add_second_level_arguments(parser, by_default=True)
    add_compute_options(parser)
    add("-v", "--verbose", action="store_true", help="also print models, thresholds and memory")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    check_second_level_arguments(args)
    check_folder("--out_dir", args.out_dir)
    weights = choose_weights(args.weights)
    out_dir = Path(args.out_dir)
    images = args.image or [demo_image()]
    quiet_libraries()
    junk = macos_notes(images, args.recursive)
    if junk:
        print(f"note: {junk[0]}: {len(junk)} such file(s) of macOS are left out", file=sys.stderr)
    choice = plane_choice(args)
    planned = plan_run(images, args.recursive, out_dir, args.save, choice, args.report)
    with quick_start():
        from network.setup import ensemble_from
        from runs.summary import sum_up, write_run
        from second_level.model import second_level_from
        from utils.device import (
            join_processes,
            leave_processes,
            resolve_device,
            wait_for_processes,
        )

        device, rank, world = join_processes(resolve_device(args.device))
        ensemble = ensemble_from(args, weights, device)
        hashes = hash_weights(weights)
        usual = find_second_level(hashes) if args.second_level else None
        second_level = second_level_from(args, usual)
    if args.estimate_scale:
        ensemble = at_estimated_scale(args, ensemble, planned)
    if second_level:
        ensemble.lower_thresholds(second_level.detection_share)
    if args.verbose:
        print(f"models: {', '.join(weights)}; {ensemble.device}; {ensemble.post_processing}")
        for licence in {view.detector.licence for view in ensemble.views} - {None}:
            print(f"licence of the models: {licence}")
    models = list(zip(weights, hashes, strict=True))
    information = describe(args, models, ensemble, args.second_level_model or usual)
    records = Records(out_dir, settings_key(information["settings"]))
    write_run(out_dir, information, images=len(planned))
    mine = args.shard.divided(rank, world).of(planned)
    segment_share(args, ensemble, second_level, mine, records, alone=len(planned) == 1)
    wait_for_processes()
    leave_processes()
    # One process of torchrun that ends with an error ends the others: the first tells for all.
    if rank == 0:
        failed = sum_up(out_dir, planned, records, information)
        if args.report:
            from reports.run_report import write_run_report

            print(f"report: {write_run_report(out_dir, planned, records)}")
        complain(failed, args.shard.of(planned), alone=len(planned) == 1)


def plane_choice(args: argparse.Namespace) -> PlaneChoice:
    """The planes that the options of `add_image_options` choose."""
    return PlaneChoice(args.channel, args.z, args.frames, args.every_plane)


def image_options(args: argparse.Namespace) -> ImageOptions:
    """How image files are read, as the options say."""
    from cells.images import ImageOptions

    return ImageOptions(plane_choice(args), invert=args.invert, pixel_size=args.pixel_size)


def at_estimated_scale(
    args: argparse.Namespace, ensemble: TiledEnsemble, planned: Sequence[PlannedImage]
) -> TiledEnsemble:
    """The ensemble for images of the scale that one of them seems to have.

    It is the middle one, or one of its neighbours where that cannot be read or shows no cells.

    Raises:
        InputError: the scale is given, too, or cannot be found.
    """
    from cells.images import ImageSource, open_image
    from network.scale_estimate import estimate_scale

    if args.scale is not None or args.diameter is not None:
        raise InputError("--estimate_scale: give it, or --scale, or --diameter")
    from_middle = sorted(range(len(planned)), key=lambda i: abs(i - len(planned) // 2))
    errors = []
    for one in (planned[i] for i in from_middle[:SCALE_TRIALS]):
        try:
            source = ImageSource(one.path, one.plane)
            image = open_image(source, ensemble.grey_rule, image_options(args))
            scale = estimate_scale(ensemble.ensemble, image)
        except InputError as error:
            errors.append(error)
        else:
            print(f"estimated from {one.label}: --scale {scale:.3g}")
            return ensemble.at_scale(scale)
    raise errors[0]


def describe(
    args: argparse.Namespace,
    models: Sequence[tuple[str, str]],
    ensemble: TiledEnsemble,
    second_level: str | None,
) -> dict[str, object]:
    """How the results are made, for run.json; `settings` is what decides them.

    Args:
        args: all options.
        models: path and SHA-256 of each checkpoint.
        ensemble: these models.
        second_level: path of the 2nd-level model.
    """
    from utils.files import sha256

    detectors = {view.detector: None for view in ensemble.views}  # in order, each once
    licences = [detector.licence for detector in detectors]
    options = {name: value for name, value in vars(args).items() if name not in NEUTRAL}
    return {
        "models": [
            {"path": path, "sha256": digest, "licence": licence}
            for (path, digest), licence in zip(models, licences, strict=True)
        ],
        "second_level": second_level,
        "device": str(ensemble.device),
        "files": files_of_run(args.save, args.report),
        "options": {name: str(value) for name, value in vars(args).items()},
        "settings": {
            "weights": [digest for _, digest in models],
            "second_level": sha256(second_level) if second_level else None,
            "class_names": list(ensemble.class_names),
            "thresholds": asdict(ensemble.post_processing),
            "inference": [detector.inference for detector in detectors],
            "image_scale": ensemble.tiling.image_scale,
            "options": options,
        },
    }


def segment_share(
    args: argparse.Namespace,
    ensemble: TiledEnsemble,
    second_level: SecondLevel | None,
    images: list[PlannedImage],
    records: Records,
    alone: bool,
) -> None:
    """Segment the images of this process, and print a line for each and the time at the end.

    Args:
        args: all options.
        ensemble, second_level: the models.
        images: the share of this process.
        records: of the run.
        alone: the run has one image, whose error is the run's and is printed at its end.

    Raises:
        InputError: the results cannot be written.
    """
    from runs.segmentation import segment_files

    records.clean(images, alone=args.shard.count == 1 and "RANK" not in os.environ)
    wanted = [i for i in images if not (args.skip_existing and records.is_finished(i))]
    if len(wanted) < len(images):
        print(f"{len(images) - len(wanted)} of {len(images)} images were done already")
    timer = StageTimer()
    start = time.perf_counter()
    done = 0
    rescore = second_level.rescore if second_level else None
    written_files = segment_files(ensemble, rescore, wanted, image_options(args), records, timer)
    for image, written in written_files:
        error = written.exception()
        if error is None:
            done += 1
            print(f"{image.label} -> {written.result()}")
            continue
        message = printable(one_line(error, image.path, "; -v shows more"))
        records.fail(image, message)
        if args.verbose and not isinstance(error, InputError):
            traceback.print_exception(error)
        if not alone:
            print_error(InputError(message))
    print_times(timer, done, time.perf_counter() - start)
    if args.verbose:
        print(f"  peak memory: {peak_memory_mb()} MB")


def complain(failed: dict[str, str], images: Sequence[PlannedImage], alone: bool) -> None:
    """Raise an `InputError` where some of these images failed, the message itself if `alone`."""
    messages = [failed[image.label] for image in images if image.label in failed]
    if messages and alone:
        raise InputError(messages[0])
    if messages:
        raise InputError(
            f"{len(messages)} of {len(images)} images failed, see above; the rest is done"
        )


def print_times(timer: StageTimer, count: int, seconds: float) -> None:
    """Seconds of each stage; for several images the mean, and how many a second were done."""
    if not count:
        return
    means = {name: total / count for name, total in timer.seconds.items()}
    print("  " + ", ".join(f"{name} {mean:.2f} s" for name, mean in means.items()))
    if count > 1:
        print(f"  {count} images in {seconds:.1f} s, {count / seconds:.2f} images/s")


if __name__ == "__main__":
    run_script(main, parse_args(), leave_at_once=True)
