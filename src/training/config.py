"""Configuration of a training: file and overrides, data pipeline, schedule by batch size."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv import Config, DictAction

from network.label_offset import label_offset
from utils.script import InputError

REQUIRED = {"model", "inference", "augmentation", "optimizer", "max_iters", "live_norm"}


def load_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply `key.subkey=value` overrides.

    Raises:
        InputError: the file or an override is not readable.
    """
    if not Path(path).is_file():
        raise InputError(f"--config {path}: no such file; the configs are in configs/")
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is Python: anything can go wrong in it
        raise InputError(f"--config {path}: not readable ({error})") from error
    missing = REQUIRED - set(config)
    if missing:
        names = ", ".join(sorted(missing))
        raise InputError(f"--config {path}: lacks {names}; start from configs/_base_")
    bad = [pair for pair in overrides if "=" not in pair]
    if bad:
        raise InputError(f"--cfg-options {bad[0]}: write KEY=VALUE")
    if "live_norm_from_scratch" in config:
        raise InputError(f"--config {path}: live_norm_from_scratch is now live_norm.scratch")
    if overrides:
        parser = argparse.ArgumentParser()
        parser.add_argument("--cfg-options", nargs="+", action=DictAction)
        config.merge_from_dict(parser.parse_args(["--cfg-options", *overrides]).cfg_options)
    if not isinstance(config.live_norm, dict):
        raise InputError(f"--config {path}: live_norm has to be a dict, see configs/_base_")
    return config


def training_pipeline(config: Config) -> list[dict]:
    """Load, augment as the config says, and normalise as inference does.

    Steps whose amounts are relative to inference's scale and normalisation are told these, and
    those that resample the labels how far these lie beside the cells.
    """
    inference = config.inference
    mean, std = (float(np.mean(inference[name])) for name in ("pixel_mean", "pixel_std"))
    resampling = dict(network_scale=inference.scale, label_offset=label_offset(inference).tolist())
    known = {
        "RandomWarp": dict(resampling, fill=mean),
        "ResizeToNetwork": dict(resampling, library=inference.get("resize", "opencv")),
        "RandomIntensity": dict(mean=mean, std=std),
    }
    return [
        dict(type="LoadCellImage", grey=inference.get("grey")),
        dict(type="LoadCellAnnotations"),
        *({**step, **known.get(step["type"], {})} for step in config.augmentation),
        dict(type="Normalize", mean=inference.pixel_mean, std=inference.pixel_std, to_rgb=False),
        dict(type="Pad", size_divisor=inference.size_divisor),
        dict(type="DefaultFormatBundle"),
        dict(
            type="Collect",
            keys=["img", "gt_bboxes", "gt_labels", "gt_masks", "gt_bboxes_ignore"],
            meta_keys=("filename", "img_shape", "pad_shape"),
        ),
    ]


def scale_schedule(config: Config, images_per_step: int, max_iters: int | None) -> str:
    """Adapt learning rate and schedule to the number of images a step; in place.

    For k times the images a step, SGD takes k times the learning rate (Goyal et al. 2017,
    "Accurate, Large Minibatch SGD"), AdamW its square root (Malladi et al. 2022, "On the SDEs and
    Scaling Rules for Adaptive Gradient Algorithms"), both a k-th of the iterations, so that as many
    images are seen. `max_iters` replaces the number of iterations; the steps of the schedule, the
    evaluations and the checkpoints move in proportion. The config's base becomes what is trained
    with, so that a written config gives the same run again.

    Returns:
        One line for the log that says what was done.
    """
    images = images_per_step / config.base_batch_size
    factor = images if config.optimizer.type == "SGD" else math.sqrt(images)
    iterations = max_iters or max(1, round(config.max_iters / images))
    shrink = iterations / config.max_iters
    config.optimizer.lr *= factor
    for settings, name in (
        (config.lr_config, "warmup_iters"),
        (config, "eval_interval"),
        (config, "checkpoint_interval"),
    ):
        if name in settings:
            settings[name] = max(1, round(settings[name] * shrink))
    if "step" in config.lr_config:
        steps = config.lr_config.step
        config.lr_config.step = [max(1, round(step * shrink)) for step in steps]
    line = (
        f"{images_per_step} image(s) a step, the config's base is {config.base_batch_size}: "
        f"learning rate x {factor:g} = {config.optimizer.lr:g}, {iterations} iterations "
        f"(schedule x {shrink:g})"
    )
    config.base_batch_size = images_per_step
    config.max_iters = iterations
    return line
