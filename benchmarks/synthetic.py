"""Conditions made to order: images whose cells are known, and models that answer with given cells.

Random weights find anything, and trained ones as much as is there. For a given number of instances,
a model computes all that it would on the real image: boxes of all proposals with their NMS, and
masks of all boxes that it gets. Only its answers are then replaced: by the given boxes, and by an
ellipse in each of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import network.operators  # noqa: F401  (before mmdet)

import cv2
import numpy as np
import torch
from mmcv import Config
from mmcv.ops import ModulatedDeformConv2dPack
from torch import nn

from cells.instances import Boxes
from network.checkpoints import describe_model, save_checkpoint
from network.models import build_model, forget_pretrained
from simulation.cell_types import CELL_TYPES
from simulation.render import render
from simulation.shapes import random_layout
from utils.device import seed_everything

CLASS_NAMES = ("shsy5y", "astro", "cort")
CELL_TYPE = "shsy5y"  # the densest: about 300 cells in 704 x 520 pixels


@dataclass(frozen=True)
class SceneFile:
    """An image in a file, and the boxes of its cells, float32 [N, 4], x1 y1 x2 y2 in pixels."""

    image: Path
    boxes: np.ndarray


def write_scene(folder: Path, size: tuple[int, int]) -> SceneFile:
    """Draw an image of (width, height) pixels."""
    width, height = size
    rng = np.random.default_rng(67)
    cells = random_layout(CELL_TYPES[CELL_TYPE], (height, width), rng)
    path = folder / f"{width}x{height}.png"
    cv2.imwrite(str(path), render(cells, CELL_TYPE, (height, width), rng))
    corners = np.array([cell.offset for cell in cells])
    sides = np.array([cell.mask.shape[::-1] for cell in cells])
    return SceneFile(path, np.concatenate([corners, corners + sides], axis=1).astype(np.float32))


def jittered_cells(scene: SceneFile, count: int) -> Boxes:
    """`count` boxes about cells of a scene, no two alike, with random scores, highest first.

    Cells come once, or several times where there are fewer cells than boxes.
    """
    rng = np.random.default_rng(count)
    rounds = -(-count // len(scene.boxes))
    chosen = np.concatenate([rng.permutation(len(scene.boxes)) for _ in range(rounds)])[:count]
    boxes = scene.boxes[chosen]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + rng.normal(0, 0.04, boxes.shape) * sides
    scores = np.sort(rng.uniform(0.3, 1, count))[::-1]
    return Boxes(boxes.astype(np.float32), scores.astype(np.float32), np.zeros(count, np.int64))


def write_untrained(config: Path, path: Path, seed: int) -> None:
    """Write a checkpoint."""
    settings = Config.fromfile(str(config))
    model_config = settings.model.to_dict()
    forget_pretrained(model_config)
    seed_everything(seed)
    model = build_model(model_config)
    logging.getLogger("mmcv").setLevel(logging.WARNING)  # it lists how every parameter starts
    model.init_weights()
    _tame(model)
    greys = dict(pixel_mean=[128.0] * 3, pixel_std=[11.578] * 3)  # no data to estimate them from
    meta = describe_model(model_config, {**settings.inference, **greys}, CLASS_NAMES)
    save_checkpoint(path, {"meta": meta, "state_dict": model.state_dict()})


@torch.no_grad()
def _tame(model: nn.Module) -> None:
    """Give random weights the order of magnitude that training gives them."""
    for name, module in model.backbone.named_modules():
        if name.endswith("bn3"):
            module.weight.fill_(0.2)  # otherwise every block doubles the variance
        if isinstance(module, ModulatedDeformConv2dPack):
            nn.init.normal_(module.conv_offset.weight, std=0.02)  # offsets of a pixel or so
    for module in model.roi_head.modules():
        if hasattr(module, "fc_cls"):
            module.fc_cls.bias[-1] = 4  # most proposals are background


def answer_with(model: nn.Module, cells: Boxes) -> None:
    """Let a two-stage detector of mmdet answer with `cells` (original pixels), in place."""
    box_heads = _as_list(model.roi_head.bbox_head)
    rows = torch.cat([torch.tensor(cells.boxes), torch.tensor(cells.scores)[:, None]], dim=1)
    found = rows, torch.tensor(cells.labels)
    # in a cascade the last box head makes the boxes
    box_heads[-1].get_bboxes = partial(_boxes, box_heads[-1].get_bboxes, found)
    for head in _as_list(model.roi_head.mask_head):
        head.forward = partial(_ellipses, head.forward)


def ellipse_logits(side: int) -> torch.Tensor:
    """Logits of a mask that fills its box as an ellipse does, float32 [side, side]."""
    across = (torch.arange(side) + 0.5) / side * 2 - 1
    return 8 * (1 - across[:, None] ** 2 - across**2)


def _as_list(head: nn.Module) -> list[nn.Module]:
    return list(head) if isinstance(head, nn.ModuleList) else [head]


def _boxes(get_bboxes, found: tuple[torch.Tensor, torch.Tensor], *args, **kwargs):
    get_bboxes(*args, **kwargs)
    return found


def _ellipses(forward, pooled: torch.Tensor) -> torch.Tensor:
    computed = forward(pooled)
    return ellipse_logits(computed.shape[-1]).expand(computed.shape)
