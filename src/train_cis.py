r"""Train a segmentation model.

    python src/train_cis.py --image_dir data/images --batch_size 1 \
        --annotation_dir data/annotations_semi_supervised_round1 \
        --out_dir models/maskrcnn_ResNeSt200_pseudo_round1_fold0

Rounds 1 and 2 of the solution differ only in the annotation folder. Several processes, for example
one for each GPU: `torchrun --nproc_per_node 4 src/train_cis.py ...`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from utils.device import (
    join_processes,
    keep_freed_memory,
    leave_processes,
    resolve_device,
    resolve_precision,
    use_threads,
)
from utils.files import check_folder
from utils.options import add_data_options, add_training_options, at_least, script_parser
from utils.paths import in_repository
from utils.script import InputError, quiet_libraries, run_script

if TYPE_CHECKING:
    import torch

    from training.data import TrainingData


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add_data_options(parser)
    add_training_options(parser)
    add(
        "--extra_data",
        nargs="+",
        default=[],
        metavar="DIR",
        help="further training data, in folders as simulate_cells.py writes them",
    )
    add("--out_dir", default="models/maskrcnn_ResNeSt200_pseudo_round2_fold0")
    add("--batch_size", type=at_least(1), default=1, help="images a step in each process")
    add("--config", default=in_repository("configs/mask_rcnn_resnest200.py"))
    add("--load_from", help="checkpoint whose weights to start from (the first time)")
    add("--resume", help="checkpoint to continue from, or 'auto' for latest.pth in --out_dir")
    add("--overwrite", action="store_true", help="replace another training in --out_dir")
    add("--max_iters", type=at_least(1), help="steps (default: the config's, by batch size)")
    add("--eval_interval", type=at_least(1), help="iterations between evaluations and checkpoints")
    add("--seed", type=at_least(0), help="default: the config's")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from mmcv.utils import get_logger

    from training.config import load_config, scale_schedule
    from training.data import load_training_data
    from training.dataset import training_loader
    from training.output import LOG, find_checkpoint, goes_on_in, prepare_folder, remove_training
    from training.run_record import describe_run
    from training.runner import build_runner, record_environment
    from training.statistics import describe_data

    check_folder("--out_dir", args.out_dir)
    check_arguments(args)
    out_dir = Path(args.out_dir)
    resume = find_checkpoint(args.resume, out_dir)
    config = load_config(args.config, args.cfg_options)
    if args.seed is not None:
        config.seed = args.seed
    device = resolve_device(args.device)
    dtype = resolve_precision(args.precision, device)
    use_threads(args.threads)
    keep_freed_memory()
    data = load_training_data(
        args.annotation_dir, args.image_dir, args.fold, args.extra_data, args.skip_invalid
    )
    device, rank, world_size = join_processes(device)
    if rank == 0:
        goes_on = args.resume == "auto" or goes_on_in(out_dir, args.resume)
        prepare_folder(out_dir, goes_on, args.overwrite)
    logging.getLogger("mmcv").setLevel(logging.WARNING)  # it lists how every parameter starts
    logger = get_logger("training", out_dir / LOG, file_mode="a" if args.resume else "w")
    config.inference = describe_data(config.inference, data.train, data.class_names)
    rule = scale_schedule(config, args.batch_size * world_size, args.max_iters)
    if args.eval_interval is not None:
        config.eval_interval = args.eval_interval
    log_start(logger, data, device, dtype)
    logger.info(rule)
    run = describe_run(
        config,
        data.files,
        batch_size=args.batch_size,
        processes=world_size,
        precision=str(dtype),
        from_scratch=args.from_scratch,
    )
    runner = build_runner(
        config,
        data.class_names,
        data.valid,
        device=device,
        dtype=dtype,
        out_dir=out_dir,
        logger=logger,
        load_from=args.load_from,
        resume=resume,
        from_scratch=args.from_scratch,
        run=run,
    )
    if rank == 0:
        if args.resume is None:
            remove_training(out_dir)
        config.dump(str(out_dir / "config.py"))
        record_environment(out_dir / "environment.json", sys.argv)
    loader = training_loader(
        config,
        data.train,
        batch_size=args.batch_size,
        workers=args.workers,
        start_iter=runner.iter,
        rank=rank,
        world_size=world_size,
    )
    runner.run([loader], [("train", 1)])
    leave_processes()


def log_start(
    logger: logging.Logger, data: TrainingData, device: torch.device, dtype: torch.dtype
) -> None:
    """What is trained on, with what, and what may be a mistake in it."""
    logger.info("%d training, %d validation images", len(data.train), len(data.valid))
    for kind, images in (("training", data.train), ("validation", data.valid)):
        if all(image.iscrowd.all() for image in images):
            logger.warning("no %s image has any cell: is the right file there?", kind)
    logger.info("classes: %s; %s, %s", ", ".join(data.class_names), device, dtype)


def check_arguments(args: argparse.Namespace) -> None:
    """Raise an `InputError` for options that exclude each other, before anything is loaded."""
    if args.load_from and args.resume not in (None, "auto"):
        raise InputError(
            "--load_from with --resume: only --resume auto, which starts from it the first time"
        )
    if args.load_from and args.from_scratch:
        raise InputError("--load_from and --from_scratch: give one of them")
    if args.resume and args.overwrite:
        raise InputError("--resume and --overwrite: give one of them")
    if not Path(args.image_dir).is_dir():
        raise InputError(
            f"--image_dir {args.image_dir}: no such folder; see README, 'Your own data'"
        )


if __name__ == "__main__":
    run_script(main, parse_args())
