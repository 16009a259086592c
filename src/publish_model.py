r"""Make a checkpoint of a training small enough to share: half precision, without training state.

    python src/publish_model.py --input models/my_model/best_mAP_iter_3000.pth \
        --output models/my_model.pth --confidence default=0.5 cort=0.6 --short_side 832

The result is used like any other checkpoint. The options change what inference reads from it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utils.files import check_output
from utils.options import at_least, between, script_parser, thresholds_by_class
from utils.script import InputError, quiet_libraries, run_script

if TYPE_CHECKING:
    import torch

LARGEST_OFFSET = 100.0  # pixels


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--input", required=True, help="checkpoint written by train_cis.py")
    add("--output", required=True)
    add("--confidence", nargs="+", default=[], metavar="CLASS=SCORE", help="least scores")
    add(
        "--mask_threshold",
        nargs="+",
        default=[],
        metavar="CLASS=P",
        help="least probabilities of foreground pixels",
    )
    add("--short_side", type=at_least(1), help="network pixels of a training image's short side")
    add(
        "--label_offset",
        nargs=2,
        type=between(-LARGEST_OFFSET, LARGEST_OFFSET),
        metavar=("X", "Y"),
        help="move what the model finds to where the labels lie, right and down in pixels of the "
        "training images, as evaluate_single_model.py reports on them",
    )
    add("--licence", help="what the weights may be used for; infer_cis.py -v prints it")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from network.checkpoints import load_checkpoint, save_checkpoint
    from network.descriptions import MASK_THRESHOLD_RANGE, check_inference, mask_thresholds
    from network.label_offset import label_offset
    from network.scale import with_short_side

    check_output(args.output, args.input)
    checkpoint = load_checkpoint(args.input)
    meta = checkpoint["meta"]
    inference = json.loads(meta["inference"])
    names = meta["class_names"]
    inference["confidence"].update(thresholds_by_class(args.confidence, names, "--confidence"))
    given = thresholds_by_class(
        args.mask_threshold, names, "--mask_threshold", *MASK_THRESHOLD_RANGE
    )
    inference["mask_threshold"] = {**mask_thresholds(inference), **given}
    if args.short_side:
        inference = with_short_side(inference, args.short_side)
    if args.label_offset:
        inference["label_offset"] = (label_offset(inference) + args.label_offset).tolist()
    try:
        check_inference(inference)
    except ValueError as error:
        raise InputError(f"--short_side {args.short_side}: {error}; give another") from error
    meta["inference"] = json.dumps(inference)
    for state in ("hook_msgs", "run", "live_iters"):  # of the training
        meta.pop(state, None)
    if args.licence:
        meta["licence"] = args.licence
    weights = {name: shortened(name, value) for name, value in checkpoint["state_dict"].items()}
    save_checkpoint(args.output, {"meta": meta, "state_dict": weights}, compress=True)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB")


def shortened(name: str, value: torch.Tensor) -> torch.Tensor:
    """A weight in half precision, where that holds it.

    Running variances may be below what it resolves near zero, and some weights beyond its largest
    number.
    """
    if not value.is_floating_point() or "running_" in name:
        return value
    half = value.half()
    return half if half.isfinite().all() else value


if __name__ == "__main__":
    run_script(main, parse_args())
