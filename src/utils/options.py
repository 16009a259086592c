"""Command-line options that several scripts have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from utils.paths import PUBLISHED_MODELS
from utils.script import PRECISIONS, InputError

if TYPE_CHECKING:
    import torch

    from network.ensemble import Ensemble


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Where annotated images are."""
    add = parser.add_argument
    add("--image_dir", default="data/images", help="folder that file_name is relative to")
    add(
        "--annotation_dir",
        default="data/annotations_semi_supervised_round2",
        help="folder of annotations_train_<fold>.json and annotations_valid_<fold>.json (COCO)",
    )
    add("--fold", type=int, default=0, help="number in the annotation files' names")
    add("--skip_invalid", action="store_true", help="leave invalid images and annotations out")


def add_compute_options(
    parser: argparse.ArgumentParser, precisions: Sequence[str] = PRECISIONS
) -> None:
    """Where and in what to compute."""
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add(
        "--precision",
        choices=precisions,
        default="auto",
        help="auto: bf16 where the hardware multiplies it natively, else fp32",
    )
    add("--threads", type=positive, help="cores of the CPU to use (default: all)")


def positive(text: str) -> int:
    """A whole number from 1 on, for `type=` of an option."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def share(text: str) -> float:
    """A number from 0 to 1, for `type=` of an option."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def scores_by_class(
    pairs: Sequence[str], class_names: Sequence[str], flag: str
) -> dict[str, float]:
    """`CLASS=SCORE` pairs as a dictionary; the class may be `default`.

    Raises:
        InputError: an unknown class or no number between 0 and 1.
    """
    table = {}
    for pair in pairs:
        name, _, score = pair.partition("=")
        if name not in (*class_names, "default"):
            raise InputError(f"{flag} {pair}: classes are {', '.join(class_names)}, default")
        try:
            table[name] = share(score)
        except ValueError as error:
            message = f"{flag} {pair}: write CLASS=SCORE, with a score between 0 and 1"
            raise InputError(message) from error
    return table


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """How models look at an image."""
    add = parser.add_argument
    add(
        "--score_thr", type=float, help="least score of a cell (default: by class, from the models)"
    )
    add("--tta", action="store_true", help="also look at the mirrored image: slower, a bit better")
    add(
        "--compile",
        action="store_true",
        help="compile the backbones first: a minute or more at first, less when done before; "
        "for hundreds of images of one size",
    )


def ensemble_from(
    args: argparse.Namespace, weights: Sequence[str], device: torch.device | None = None
) -> Ensemble:
    """Load models as `add_compute_options` and `add_prediction_options` say.

    Args:
        args: the options.
        weights: checkpoints.
        device: where to compute instead of `--device`.

    Raises:
        InputError: a checkpoint or an option cannot be used.
    """
    from network.ensemble import load_ensemble
    from utils.script import resolve_device, resolve_precision, use_threads

    device = device or resolve_device(args.device)
    dtype = resolve_precision(args.precision, device)
    use_threads(args.threads)
    return load_ensemble(weights, device, dtype, args.score_thr, args.tta, args.compile)


def check_prediction_options(args: argparse.Namespace) -> None:
    """Raise an `InputError` for values of `add_prediction_options` that are out of range."""
    if args.score_thr is not None and not 0 <= args.score_thr <= 1:
        raise InputError(f"--score_thr {args.score_thr}: not between 0 and 1")


def add_weights_option(
    parser: argparse.ArgumentParser, default: Sequence[str] | None = PUBLISHED_MODELS
) -> None:
    """Several checkpoints."""
    parser.add_argument(
        "--weights",
        nargs="+",
        default=default,
        help="checkpoint(s), also as one string separated by spaces",
    )
