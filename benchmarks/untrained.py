"""Checkpoints of a configuration with random weights that behave like trained ones."""

from __future__ import annotations

import logging
from pathlib import Path

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv import Config
from mmcv.ops import ModulatedDeformConv2dPack
from torch import nn

from network.checkpoints import describe_model, save_checkpoint
from network.models import build_model, forget_pretrained
from utils.device import seed_everything

CLASS_NAMES = ("shsy5y", "astro", "cort")


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
    meta = describe_model(model_config, settings.inference, CLASS_NAMES)
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
