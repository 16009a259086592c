"""What the two evaluation scripts share: their options, and the job itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.device import join_processes, leave_processes, resolve_device
from utils.options import add_compute_options, add_data_options, add_prediction_options
from utils.script import InputError, quiet_libraries

if TYPE_CHECKING:
    import torch

    from cells.annotations import AnnotationSet
    from evaluation.evaluator import Rescore, Source


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
    add(
        "--confidence_search",
        action="store_true",
        help="find the best confidence threshold of each class on these images",
    )


def run_evaluation(
    weights: Sequence[str], args: argparse.Namespace, rescore: Rescore | None = None
) -> None:
    """Score predictions of models or of a file, print the tables and write the report.

    Under torchrun the processes share the images, and the first one reports.

    Args:
        weights: checkpoints; not looked at with `--predictions`.
        args: options of `add_arguments`.
        rescore: changes scores and drops instances after the models; the report then also has the
            score before.

    Raises:
        InputError: bad weights, annotations, predictions or options.
    """
    check_options(args)
    quiet_libraries()
    from cells.annotations import annotation_file, load_annotations
    from evaluation.evaluation import for_each_image
    from evaluation.evaluator import Examiner
    from evaluation.pictures import plot_precision_recall
    from evaluation.prediction_io import saved_results
    from evaluation.report import evaluation_tables, print_tables, write_report

    device, rank, world = join_processes(resolve_device(args.device))
    path = args.annotation_file or annotation_file(args.annotation_dir, "valid", args.fold)
    truth = load_annotations(path, args.image_dir, args.skip_invalid)
    if args.predictions:
        source = _file_source(args, truth)
    else:
        source = _model_source(weights, args, truth, device)
    make_folder(args.out_dir)
    has_classes = not (args.predictions and Path(args.predictions).is_dir())
    show_dir = Path(args.show_dir) if args.show_dir else None
    with saved_results(args.out, truth.category_ids, rank, world) as writer:
        examiner = Examiner(source, truth, has_classes, rescore, writer, show_dir)
        examinations = for_each_image(examiner, truth.images, rank, world)
    if rank == 0:
        tables = evaluation_tables(examinations, truth, has_classes, args.confidence_search)
        print_tables(tables)
        files = [path, *([args.predictions] if args.predictions else weights)]
        write_report(Path(args.out_dir), tables, examinations, truth, files, args)
        if show_dir:
            curves = [examination.curve for examination in examinations]
            plot_precision_recall(show_dir / "precision_recall.png", curves)
        written = [f"{args.out_dir}/evaluation.json", f"{args.out_dir}/per_image.csv"]
        print("written:", ", ".join([*written, *filter(None, (args.out, args.show_dir))]))
    leave_processes()


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other, before anything is loaded.

    Raises:
        InputError: names the option.
    """
    if args.confidence_search and args.predictions and Path(args.predictions).is_dir():
        raise InputError(
            "--confidence_search: label images have no scores; give models or COCO results"
        )


def make_folder(path: str) -> None:
    """Create the report's folder before the long work starts.

    Raises:
        InputError: that is not possible.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out_dir {path}: cannot be made ({error.strerror}); choose another folder"
        ) from error


def _model_source(
    weights: Sequence[str], args: argparse.Namespace, truth: AnnotationSet, device: torch.device
) -> Source:
    from evaluation.sources import ModelPredictions
    from network.ensemble import ensemble_from

    ensemble = ensemble_from(args, weights, device)
    return ModelPredictions(ensemble, truth.class_names, args.confidence_search)


def _file_source(args: argparse.Namespace, truth: AnnotationSet) -> Source:
    from evaluation.label_images import LabelImages
    from evaluation.prediction_io import Results
    from evaluation.sources import FilePredictions

    if Path(args.predictions).is_dir():
        return FilePredictions(LabelImages(args.predictions, truth), args.score_thr)
    return FilePredictions(Results(args.predictions, truth, args.skip_invalid), args.score_thr)
