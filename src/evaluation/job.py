"""What the two evaluation scripts share: their options, and the evaluation itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from utils.device import join_processes, leave_processes, resolve_device
from utils.files import check_folder
from utils.options import add_compute_options, add_data_options, add_prediction_options
from utils.paths import check_weights_exist
from utils.script import InputError, quiet_libraries

if TYPE_CHECKING:
    import torch

    from cells.annotations import AnnotationSet
    from evaluation.evaluator import ImageEvaluation, Rescore
    from evaluation.sources import FilePredictions, ModelPredictions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that do not depend on the number of models."""
    add_data_options(parser)
    add_prediction_options(parser)
    add_compute_options(parser)
    add = parser.add_argument
    add("--annotation_file", help="COCO file to use instead")
    add("--out_dir", default="evaluation", help="folder of the report (default: %(default)s)")
    add("--out", help="also save the predictions: COCO results JSON with RLE masks")
    add(
        "--predictions",
        help="score these instead of running models: COCO results, or folder of label images",
    )
    add("--show_dir", help="folder for pictures of found, false and missed cells, and for a plot")
    add("--report", action="store_true", help="also report.html: error pictures, worst first")
    add(
        "--confidence_search",
        action="store_true",
        help="find the best confidence threshold of each class on these images",
    )


def run_evaluation(
    weights: Sequence[str],
    args: argparse.Namespace,
    rescore: Rescore | None = None,
    detection_share: float = 1.0,
) -> None:
    """Score predictions of models or of a file, print the tables and write the report.

    Under torchrun the processes share the images, and the first one reports.

    Args:
        weights: checkpoints; not looked at with `--predictions`.
        args: options of `add_arguments`.
        rescore: changes scores and drops instances after the models; the report then also has
            the figures before it.
        detection_share: of the models' confidence thresholds, from which on `rescore` decides.

    Raises:
        InputError: bad weights, annotations, predictions or options.
    """
    check_options(args)
    quiet_libraries()
    from cells.annotations import annotation_file, load_annotations
    from evaluation.evaluator import Evaluator, for_each_image

    device, rank, world = join_processes(resolve_device(args.device))
    path = args.annotation_file or annotation_file(args.annotation_dir, "valid", args.fold)
    files = [path, *([args.predictions] if args.predictions else weights)]
    check_results_file(args.out, files)
    if not args.predictions:
        check_weights_exist(weights)
    truth = load_annotations(path, args.image_dir, args.skip_invalid)
    if args.predictions:
        source: ModelPredictions | FilePredictions = _file_source(args, truth)
    else:
        source = models = _model_source(weights, args, truth, device, detection_share)
        rescore = rescore and partial(models.rescored, rescore)
    show_dir = Path(args.show_dir) if args.show_dir else None
    share = 1.0 if args.predictions else detection_share
    evaluator = Evaluator(source, truth, rescore, show_dir, share)
    evaluations = for_each_image(evaluator, truth.images, rank, world, source.grey_rule)
    if rank == 0:
        report(evaluations, truth, files, args)
    leave_processes()


def report(
    evaluations: Sequence[ImageEvaluation],
    truth: AnnotationSet,
    files: Sequence[str | Path],
    args: argparse.Namespace,
) -> None:
    """Print the tables, and write all that the options ask for.

    Args:
        evaluations: of all images.
        truth: the annotations.
        files: what the figures come from, see `write_report`.
        args: options of `add_arguments`.
    """
    from evaluation.metrics import per_image_table
    from evaluation.pictures import plot_precision_recall
    from evaluation.report import evaluation_tables, print_tables, write_report, write_results

    has_classes = not _label_images(args)
    tables = evaluation_tables(evaluations, truth, has_classes, args.confidence_search)
    print_tables(tables)
    results = [evaluation.result for evaluation in evaluations]
    per_image = per_image_table(results, truth.class_names)
    write_report(Path(args.out_dir), tables, per_image, files, args)
    if args.out:
        write_results(args.out, [evaluation.coco_rows for evaluation in evaluations])
    if args.show_dir:
        curves = [evaluation.curve for evaluation in evaluations]
        plot_precision_recall(Path(args.show_dir) / "precision_recall.png", curves)
    written = [f"{args.out_dir}/evaluation.json", f"{args.out_dir}/per_image.csv"]
    print("written:", ", ".join([*written, *filter(None, (args.out, args.show_dir))]))


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other or cannot be followed, before anything is loaded.

    Raises:
        InputError: names the option.
    """
    if args.confidence_search and _label_images(args):
        raise InputError(
            "--confidence_search: label images have no scores; give models or COCO results"
        )
    check_folder("--out_dir", args.out_dir)
    check_folder("--show_dir", args.show_dir)
    check_folder("--out", args.out and Path(args.out).parent)


def check_results_file(out: str | None, sources: Sequence[str | Path]) -> None:
    """Refuse an `--out` that is a folder, or that would replace a file which is read.

    Raises:
        InputError: names the option.
    """
    if out is None:
        return
    if Path(out).is_dir():
        raise InputError(f"--out {out}: is a folder; give the name of a JSON file")
    if Path(out).resolve() in {Path(source).resolve() for source in sources}:
        raise InputError(f"--out {out}: is read by this evaluation; give another file")


def _label_images(args: argparse.Namespace) -> bool:
    """Whether the predictions are label images, which have neither classes nor scores."""
    return bool(args.predictions) and Path(args.predictions).is_dir()


def _model_source(
    weights: Sequence[str],
    args: argparse.Namespace,
    truth: AnnotationSet,
    device: torch.device,
    detection_share: float,
) -> ModelPredictions:
    from evaluation.sources import ModelPredictions
    from network.setup import ensemble_from

    ensemble = ensemble_from(args, weights, device)
    ensemble.lower_thresholds(detection_share)
    return ModelPredictions(ensemble, truth.class_names, args.confidence_search)


def _file_source(args: argparse.Namespace, truth: AnnotationSet) -> FilePredictions:
    from evaluation.sources import CocoResults, FilePredictions, LabelImages

    if _label_images(args):
        read = LabelImages(args.predictions, truth).instances
    else:
        read = CocoResults(args.predictions, truth, args.skip_invalid).instances
    return FilePredictions(read, args.score_thr)
