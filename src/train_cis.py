"""Train a segmentation model.

    python src/train_cis.py --image_dir data/images --batch_size 1 \
        --annotation_dir data/annotations_semi_supervised_round1 \
        --out_dir models/maskrcnn_ResNeSt200_pseudo_round1_fold0

Rounds 1 and 2 of the solution differ only in the annotation folder. Several processes, for example
one for each GPU: `torchrun --nproc_per_node 4 src/train_cis.py ...`.
"""

from __future__ import annotations

import argparse
import sys

from utils.runtime import PRECISIONS, run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--image_dir", default="data/images", help="folder that file_name is relative to")
    add(
        "--annotation_dir",
        default="data/annotations_semi_supervised_round2",
        help="folder of annotations_train_<fold>.json and annotations_valid_<fold>.json (COCO)",
    )
    add("--fold", type=int, default=0, help="number in the annotation files' names")
    add("--out_dir", default="models/maskrcnn_ResNeSt200_pseudo_round2_fold0")
    add("--batch_size", type=int, default=1, help="images a step in each process")
    add("--config", default="configs/mask_rcnn_resnest200.py")
    add("--load_from", help="checkpoint to start from (weights only)")
    add("--resume", help="checkpoint to continue from, or 'auto' for latest.pth in --out_dir")
    add("--from_scratch", action="store_true", help="random weights, no pretrained backbone")
    add("--max_iters", type=int, help="length of the training (default: config, by batch size)")
    add("--eval_interval", type=int, help="iterations between evaluations and checkpoints")
    add("--workers", type=int, default=2, help="processes that load and augment images")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--precision", choices=PRECISIONS[:3], default="auto")
    add("--seed", type=int, help="default: the config's")
    add("--skip_invalid", action="store_true", help="leave invalid images and annotations out")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override the config")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from utils.training import silence_known_warnings

    silence_known_warnings()
    from mmcv import Config
    from mmcv.utils import get_logger

    from utils.annotations import annotation_file, load_annotations
    from utils.dataset import build_loader
    from utils.models import set_num_classes
    from utils.runtime import resolve_device, resolve_precision
    from utils.training import build_runner, scale_schedule, training_pipeline

    config = Config.fromfile(args.config)
    from mmcv import DictAction
    config.merge_from_dict({k: DictAction._parse_iterable(v) for k, v in (o.split("=", 1) for o in args.cfg_options)})
    if args.seed is not None:
        config.seed = args.seed
    if args.eval_interval:
        config.eval_interval = args.eval_interval
    device = resolve_device(args.device)
    train = load_annotations(
        annotation_file(args.annotation_dir, "train", args.fold), args.image_dir, args.skip_invalid
    )
    set_num_classes(config.model, len(train.class_names))
    logger = get_logger("cis")
    logger.info(scale_schedule(config, args.batch_size, args.max_iters))
    runner = build_runner(
        config,
        train.class_names,
        device=device,
        dtype=resolve_precision(args.precision, device),
        out_dir=args.out_dir,
        logger=logger,
        load_from=args.load_from,
        resume=args.resume,
        from_scratch=args.from_scratch,
    )
    loader = build_loader(
        train.images,
        training_pipeline(config),
        batch_size=args.batch_size,
        workers=args.workers,
        seed=config.seed,
        start_iter=runner.iter,
    )
    runner.run([loader], [("train", 1)])


if __name__ == "__main__":
    run_script(main, parse_args())
