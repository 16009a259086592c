r"""Give a trained model another backbone, and fit its features to those of the model's own.

    python src/exchange_backbone.py --weights models/demo_model_1.pth \
        --config configs/cascade_mask_rcnn_efficientnet_lite2.py --output models/lite2_start.pth

The result finds nearly what the model finds, after minutes instead of hours of training;
train_cis.py --load_from goes on from there. Looks at the training images, not at their labels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from utils.device import (
    keep_freed_memory,
    resolve_device,
    resolve_precision,
    seed_everything,
    use_threads,
)
from utils.files import check_output
from utils.options import add_data_options, add_training_options, at_least, script_parser
from utils.script import quiet_libraries, run_script

if TYPE_CHECKING:
    import torch
    from mmcv import Config


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--weights", required=True, help="checkpoint of the trained model")
    add("--config", required=True, help="the same model with another backbone")
    add("--output", required=True, help="checkpoint to start a training from")
    add_data_options(parser)
    add_training_options(parser)
    add("--steps", type=at_least(1), default=500, help="default: %(default)s")
    add("--batch_size", type=at_least(1), default=4, help="images a step (default: %(default)s)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from network.checkpoints import describe_model, load_checkpoint, load_weights, save_checkpoint
    from network.models import build_model, forget_pretrained, set_num_classes
    from training.backbone_exchange import fit_features, settle_norms, take_heads
    from training.config import load_config
    from training.initial_weights import initialise
    from training.runner import train_in_dtype

    check_output(args.output, args.weights)
    config = load_config(args.config, args.cfg_options)
    device = resolve_device(args.device)
    dtype = resolve_precision(args.precision, device)
    use_threads(args.threads)
    keep_freed_memory()
    checkpoint = load_checkpoint(args.weights)
    meta, weights = checkpoint["meta"], checkpoint["state_dict"]
    inference, class_names = json.loads(meta["inference"]), meta["class_names"]
    teacher = build_model(json.loads(meta["model"]), args.weights)
    load_weights(teacher, weights, args.weights)

    student_config = config.model.to_dict()
    set_num_classes(student_config, len(class_names))
    licence = {"licence": meta["licence"]} if meta.get("licence") else {}
    description = describe_model(student_config, inference, class_names, **licence)
    if args.from_scratch:
        forget_pretrained(student_config)
    seed_everything(config.seed)
    student = build_model(student_config)
    initialise(student)
    take_heads(student, weights)

    for model in (student, teacher):
        train_in_dtype(model.to(device), dtype, device)
    batches = training_images(args, config, inference, device)
    share = fit_features(student, teacher, batches, args.steps)
    settle_norms(student, batches)
    state = {name: value.cpu() for name, value in student.state_dict().items()}
    save_checkpoint(args.output, {"meta": description, "state_dict": state})
    print(f"{args.output}: {share:.0%} of the variance of the features is unexplained")


def training_images(
    args: argparse.Namespace, config: Config, inference: Mapping, device: torch.device
) -> Iterator[torch.Tensor]:
    """Endless batches of what the config's training sees, at the trained model's scale.

    Returns:
        float32 [N, 3, H, W], normalised.
    """

    from cells.annotations import annotation_file, load_annotations
    from network.scale import network_scale
    from training.dataset import training_loader
    from training.runner import unpack

    path = annotation_file(args.annotation_dir, "train", args.fold)
    records = load_annotations(path, args.image_dir, args.skip_invalid).images
    config.inference = {**inference, "scale": network_scale(inference)}
    loader = training_loader(config, records, batch_size=args.batch_size, workers=args.workers)
    return (unpack(batch["img"], device) for batch in loader)


if __name__ == "__main__":
    run_script(main, parse_args())
