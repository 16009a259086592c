"""What the benchmarks on validation images share: their options, and the images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from utils.options import add_data_options, add_weights_option, at_least

if TYPE_CHECKING:
    from cells.annotations import AnnotationSet


def add_validation_options(parser: argparse.ArgumentParser) -> None:
    """The data, the models and the cores."""
    add_data_options(parser)
    add_weights_option(parser)
    parser.add_argument("--threads", type=at_least(1), help="cores to use (default: all)")


def prepare(args: argparse.Namespace) -> AnnotationSet:
    """Use as many cores as `args` say, and read the validation annotations."""
    from cells.annotations import annotation_file, load_annotations
    from utils.device import use_threads

    use_threads(args.threads)
    path = annotation_file(args.annotation_dir, "valid", args.fold)
    return load_annotations(path, args.image_dir, args.skip_invalid)
