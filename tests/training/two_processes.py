"""Run by test_processes.py in two processes: gradients of both, and of one that does all.

python -m torch.distributed.run --standalone --nproc_per_node=2 two_processes.py OUT
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import network.operators  # noqa: F401  (before mmdet)

import torch
from helpers import CLASS_NAMES, CONFIGS, write_shapes

from cells.annotations import AnnotatedImage
from network.models import build_model, set_num_classes
from training.config import load_config, training_pipeline
from training.data import load_training_data
from training.dataset import build_loader
from training.hooks import NormHook
from training.runner import TrainingModel
from utils.device import join_processes, leave_processes, seed_everything

CPU = torch.device("cpu")


def main(out: Path) -> None:
    _, rank, _ = join_processes(CPU)
    torch.set_num_threads(1)
    folder = write_shapes(out / f"shapes{rank}", 4, 1)
    data = load_training_data(str(folder / "annotations"), str(folder / "images"), 0)
    cases = {"other cells": data.train, "same cells": with_cells_of_the_first(data.train)}
    both = {name: gradients(records, 2, rank, 2) for name, records in cases.items()}
    leave_processes()
    if rank == 0:
        halves = {
            name: [gradients(records, 2, half, 2) for half in (0, 1)]
            for name, records in cases.items()
        }
        one = {name: gradients(records, 4) for name, records in cases.items()}
        torch.save({"both": both, "halves": halves, "one": one}, out / "gradients.pth")


def with_cells_of_the_first(records: list[AnnotatedImage]) -> list[AnnotatedImage]:
    """Other pixels, but the same annotations: the losses of all images are means of as much."""
    first = records[0]
    return [replace(r, boxes=first.boxes, labels=first.labels, rles=first.rles) for r in records]


def gradients(
    records: list[AnnotatedImage], batch_size: int, rank: int = 0, world: int = 1
) -> dict[str, torch.Tensor]:
    """Of one step of training on the first images of a process, by parameter.

    Nothing is drawn: neither augmentation, nor which anchors and proposals the losses look at.
    """
    config = load_config(str(CONFIGS / "tiny_resnest.py"))
    config.augmentation = [dict(type="ResizeToNetwork")]
    train = config.model.train_cfg
    train.rpn.sampler.num = train.rcnn.sampler.num = 10**6
    train.rpn.sampler.pos_fraction = train.rcnn.sampler.pos_fraction = 0.5
    train.rpn_proposal.max_per_img = 10  # as many in each image; none is as good as a true box
    train.rcnn.assigner.update(pos_iou_thr=0.99, neg_iou_thr=0.99, min_pos_iou=0.99)
    model_config = config.model.to_dict()
    set_num_classes(model_config, len(CLASS_NAMES))
    seed_everything(0)
    model = TrainingModel(build_model(model_config), CPU, torch.float32).train()
    NormHook(live_iters=0).before_train_iter(SimpleNamespace(iter=0, model=model))
    options = dict(batch_size=batch_size, workers=0, seed=0, rank=rank, world_size=world)
    loader = build_loader(records, training_pipeline(config), **options)
    model.train_step(next(iter(loader)), None)["loss"].backward()
    return {name: value.grad.clone() for name, value in model.detector.named_parameters()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
