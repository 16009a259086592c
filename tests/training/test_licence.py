"""What weights may be used for goes on to those that are trained from them."""

from __future__ import annotations

import logging

import network.operators  # noqa: F401  (before mmdet)

import torch
from helpers import CLASS_NAMES, CONFIGS

from network.checkpoints import load_checkpoint, save_checkpoint
from training.config import load_config
from training.runner import build_runner

LICENCE = "for research only"


def started(folder, **options):
    config = load_config(str(CONFIGS / "tiny_resnest.py"))
    device = torch.device("cpu")
    logger = logging.getLogger("test")
    common = dict(device=device, dtype=torch.float32, out_dir=folder, logger=logger)
    return build_runner(config, CLASS_NAMES, [], **common, **options)


def test_a_licence_is_taken_over_and_kept_across_a_resume(untrained, tmp_path):
    assert "licence" not in started(tmp_path, load_from=str(untrained())).description
    checkpoint = load_checkpoint(untrained())
    checkpoint["meta"]["licence"] = LICENCE
    save_checkpoint(tmp_path / "start.pth", checkpoint)
    runner = started(tmp_path, load_from=str(tmp_path / "start.pth"))
    runner.save_checkpoint(str(tmp_path), "latest.pth", save_optimizer=True)
    latest = tmp_path / "latest.pth"
    assert load_checkpoint(latest)["meta"]["licence"] == LICENCE
    (tmp_path / "start.pth").unlink()  # is needed the first time only
    again = started(tmp_path, resume=str(latest), load_from=str(tmp_path / "start.pth"))
    assert again.description["licence"] == LICENCE
