"""Command-line options that several scripts have, and the types of their values."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from utils.paths import PUBLISHED_MODELS, in_repository
from utils.script import InputError

Number = TypeVar("Number", int, float)

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRAINING_PRECISIONS = ("auto", "fp32", "bf16")  # fp16 would need its losses scaled


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())}; see {self.prog} --help\n")


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Parser of a script, whose errors are one line and exit code 2.

    Args:
        description: the script's `__doc__`, shown as it is written.
    """
    return _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def at_least(least: Number) -> Callable[[str], Number]:
    """For `type=` of an option: a finite number from `least` on, whole where `least` is an int."""
    return _checked(type(least), lambda value: value >= least, f"of at least {least:g}")


def above(bound: float) -> Callable[[str], float]:
    """For `type=` of an option: a finite number larger than `bound`."""
    return _checked(float, lambda value: value > bound, f"above {bound:g}")


def between(least: Number, most: Number) -> Callable[[str], Number]:
    """For `type=` of an option: a number from `least` to `most`, whole where `least` is an int."""
    return _checked(
        type(least), lambda value: least <= value <= most, f"from {least:g} to {most:g}"
    )


def _checked(
    kind: type[Number], holds: Callable[[Number], bool], range_text: str
) -> Callable[[str], Number]:
    noun = "whole number" if kind is int else "number"

    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not math.isfinite(value) or not holds(value):
            raise argparse.ArgumentTypeError(f"{text!r}: give a {noun} {range_text}")
        return value

    return parse


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
    add("--threads", type=at_least(1), help="cores of the CPU to use (default: all)")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """What a model starts from and computes with while it learns."""
    add_compute_options(parser, TRAINING_PRECISIONS)
    add = parser.add_argument
    add("--from_scratch", action="store_true", help="random weights, no pretrained backbone")
    add("--workers", type=at_least(0), default=2, help="processes that load and augment images")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override the config")


def thresholds_by_class(
    pairs: Sequence[str],
    class_names: Sequence[str],
    flag: str,
    least: float = 0.0,
    most: float = 1.0,
) -> dict[str, float]:
    """`CLASS=NUMBER` pairs as a dictionary; the class may be `default`.

    Raises:
        InputError: an unknown class or no number from `least` to `most`.
    """
    table = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if name not in (*class_names, "default"):
            raise InputError(f"{flag} {pair}: classes are {', '.join(class_names)}, default")
        try:
            table[name] = between(least, most)(number)
        except argparse.ArgumentTypeError as error:
            message = f"{flag} {pair}: write CLASS=NUMBER, a number from {least:g} to {most:g}"
            raise InputError(message) from error
    return table


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Which planes of image files are segmented, and how; `--pixel_size` is a scale option."""
    add = parser.add_argument
    add("--channel", metavar="N|NAME", help="the channel to segment, by name or counted from 0")
    add(
        "--z",
        type=z_option,
        metavar="N|max|mean|focus",
        help="the plane of a z-stack, counted from 0; or its maximum, mean, or sharpest plane",
    )
    add(
        "--frames",
        type=frames_option,
        metavar="A:B",
        help="frames A to B - 1 of a time series, counted from 0; one result each",
    )
    add("--every_plane", action="store_true", help="one result for each plane not chosen above")
    add("--invert", action="store_true", help="the contrast is inverted: what is bright was dark")


def z_option(text: str) -> str:
    """A plane's number, or `max`, `mean` or `focus`; for `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    if not re.fullmatch("[0-9]+|max|mean|focus", text):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 0, max, mean or focus")
    return text


def frames_option(text: str) -> tuple[int | None, int | None]:
    """`A:B`, `A:`, `:B`, or `A` for one frame; for `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: it is none of these, or holds no frame.
    """
    match = re.fullmatch(r"([0-9]*)(:?)([0-9]*)", text)
    first, end = (int(side) if side else None for side in match.group(1, 3)) if match else (0, 0)
    if match and not match[2] and first is not None:
        end = first + 1
    if not match or text in ("", ":") or (end is not None and end <= (first or 0)):
        raise argparse.ArgumentTypeError(f"{text!r}: give A:B with A below B, counted from 0")
    return first, end


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """How models look at an image."""
    add = parser.add_argument
    add(
        "--score_thr",
        type=between(0.0, 1.0),
        help="least score of a cell (default: by class, from the models)",
    )
    add(
        "--tta",
        nargs="*",
        choices=("flip", "scale"),
        metavar="VIEW",
        help="further looks at an image: flip (mirrored; --tta alone is this), scale (at 0.8 and "
        "1.25 times the scale); slower, a bit better",
    )
    add_scale_options(parser)
    add(
        "--compile",
        action="store_true",
        help="compile the backbones first: a minute or more at first, less when done before; "
        "for hundreds of images of one size",
    )


def add_scale_options(parser: argparse.ArgumentParser) -> None:
    """How large the images are, and how they are cut."""
    add = parser.add_argument
    one_of = parser.add_mutually_exclusive_group()
    one_of.add_argument(
        "--scale",
        type=above(0.0),
        help="size of a pixel relative to the training images' (default: 1, whatever the size of "
        "the image; 0.5: the image was taken at twice their magnification)",
    )
    one_of.add_argument(
        "--diameter", type=above(0.0), help="instead: median diameter of the cells in pixels"
    )
    add(
        "--pixel_size",
        type=above(0.0),
        help="micrometres per pixel, for measurements instead of what the files say, and for the "
        "scale of models that know the training images' (unless --scale or --diameter says it)",
    )
    add(
        "--tile",
        type=at_least(32),
        nargs="+",
        metavar="PIXELS",
        help="width and height of the tiles that a larger image is cut into (default: a training "
        "image)",
    )
    add(
        "--overlap",
        type=at_least(0),
        default=0,
        help="pixels that neighbouring tiles share (default: %(default)s; cells that a seam cuts "
        "are joined)",
    )


def add_weights_option(
    parser: argparse.ArgumentParser, default: Sequence[str] | None = PUBLISHED_MODELS
) -> None:
    """Several checkpoints.

    Args:
        parser: gets the option.
        default: paths relative to the repository.
    """
    parser.add_argument(
        "--weights",
        nargs="+",
        default=default and [in_repository(path) for path in default],
        help="checkpoint(s), also as one string separated by spaces",
    )


def add_second_level_arguments(parser: argparse.ArgumentParser, by_default: bool = False) -> None:
    """`--2nd_level_model` and `--2nd_level_features`.

    Args:
        parser: gets the options.
        by_default: the one that belongs to the models is used by default; adds `--no_2nd_level`.
    """
    if by_default:
        parser.add_argument(
            "--no_2nd_level",
            dest="second_level",
            action="store_false",
            help="the models' own scores, although a 2nd-level model belongs to them",
        )
    parser.add_argument(
        "--2nd_level_model",
        dest="second_level_model",
        help="CatBoost model (.pkl, .cbm) whose predicted IoU becomes the score of a cell",
    )
    parser.add_argument(
        "--2nd_level_features",
        dest="second_level_features",
        help="CSV that lists its features (default: features.csv beside a catboost.pkl, and so on)",
    )


def check_second_level_arguments(args: argparse.Namespace) -> None:
    """Refuse `--no_2nd_level` together with a 2nd-level model.

    Raises:
        InputError: both are given.
    """
    if not args.second_level and args.second_level_model:
        raise InputError("--no_2nd_level and --2nd_level_model: give one of them")
