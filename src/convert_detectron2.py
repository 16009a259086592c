r"""Turn a Detectron2 checkpoint of the published solution into one that these scripts read.

    python src/convert_detectron2.py --input model_final.pth \
        --output models/pretrained_models/pseudo_round1_model.pth

The architecture is configs/cascade_mask_rcnn_resnest200_dcn.py. Every weight of the input is used
once and every weight of the model is set once, or nothing is written. Also converts the weights
that LIVECell published (one class), to start a training from: train_cis.py --load_from.
"""

from __future__ import annotations

import argparse

from utils.files import check_output
from utils.options import script_parser
from utils.paths import in_repository
from utils.script import InputError, quiet_libraries, run_script

CONFIG = "configs/cascade_mask_rcnn_resnest200_dcn.py"
CLASS_NAMES = {1: ["cell"], 3: ["shsy5y", "astro", "cort"]}  # by their number


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--input", required=True, help="Detectron2 checkpoint: .pth, or .pkl of arrays")
    add("--output", required=True, help="checkpoint to write")
    add(
        "--class_names",
        nargs="+",
        help="in the order of the model's labels; default: cell, or shsy5y astro cort",
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from mmcv import Config

    from network.checkpoints import describe_model, load_weights, save_checkpoint
    from network.models import build_model, forget_pretrained, set_num_classes
    from published.detectron2 import convert_weights, count_classes, read_weights

    check_output(args.output, args.input)
    source = read_weights(args.input)
    class_names = choose_names(args.class_names, count_classes(source, args.input))
    config = Config.fromfile(in_repository(CONFIG))
    model_config = config.model.to_dict()
    set_num_classes(model_config, len(class_names))
    forget_pretrained(model_config)
    model = build_model(model_config)
    constants = derived_constants(model, config.inference)
    state = model.state_dict()
    # the counters of training steps beside mmdet's norms stay at 0: Detectron2 has none
    state.update(convert_weights(source, state, constants, args.input))
    load_weights(model, state, args.input)
    meta = describe_model(model_config, config.inference, class_names)
    save_checkpoint(args.output, {"meta": meta, "state_dict": state})
    print(f"{args.output}: {len(source)} weights converted; classes: {', '.join(class_names)}")
    if len(class_names) == 1:
        print(
            "For other classes, train_cis.py --load_from leaves the layers that depend on them "
            "(classifiers of the box heads, last layer of the mask head) to initialisation."
        )


def choose_names(given: list[str] | None, count: int) -> list[str]:
    """Class names as given, or the usual ones for their number.

    Raises:
        InputError: the number of names is not that of the checkpoint's classes.
    """
    names = given or CLASS_NAMES.get(count, [])
    if len(names) != count:
        raise InputError(f"--class_names: the checkpoint has {count} classes; give {count} names")
    return names


def derived_constants(model, inference: dict) -> dict:
    """What some versions of Detectron2 save although it follows from the configuration."""
    import torch

    anchors = model.rpn_head.prior_generator.base_anchors
    generator = "proposal_generator.anchor_generator.cell_anchors"
    return {
        "pixel_mean": torch.tensor(inference["pixel_mean"]),
        "pixel_std": torch.tensor(inference["pixel_std"]),
        **{f"{generator}.{level}": boxes for level, boxes in enumerate(anchors)},
    }


if __name__ == "__main__":
    run_script(main, parse_args())
