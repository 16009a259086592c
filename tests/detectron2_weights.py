"""Deterministic weights of the published architecture, by Detectron2's names.

Each tensor follows from its name and shape alone, so that Detectron2's answers with these weights
(`data/d2_*.npz`) can be compared with ours. `data/d2_weights.csv` lists names, shapes and CRC-32.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import pandas as pd
import torch
from helpers import DATA

# Centres of the classifiers' and regressors' answers, which spread scores and keep boxes in size.
BIASES = {
    "roi_heads.box_predictor.0.cls_score.bias": (3.0, 0.0, -8.0, -2.0),
    "roi_heads.box_predictor.1.cls_score.bias": (-2.0, -8.5, 0.0, -5.0),
    "roi_heads.box_predictor.2.cls_score.bias": (1.5, -6.5, 1.0, 5.0),
    "roi_heads.box_predictor.0.bbox_pred.bias": (-1.5, -1.0, 1.5, 1.5),
    "roi_heads.box_predictor.1.bbox_pred.bias": (-0.5, -1.5, 2.5, 0.5),
    "roi_heads.box_predictor.2.bbox_pred.bias": (1.5, 0.0, 1.5, 1.5),
}
# Biases and statistics: end of the name, constant, factor of the draw; the first that fits counts.
OFFSETS = [
    ("norm.weight", 1.0, 0.1),
    ("bn0.weight", 1.0, 0.1),
    ("bn1.weight", 1.0, 0.1),
    ("conv2_offset.bias", 0.0, 0.5),
    ("objectness_logits.bias", -3.0, 0.1),
    (".bias", 0.0, 0.1),
    (".running_mean", 0.0, 0.1),
]
# Weights of layers: part of the name, a and b in a * sqrt(b / fan-in).
GAINS = [
    ("conv2_offset.weight", 0.5, 1),
    ("backbone.fpn_", 1, 1),
    ("objectness_logits.weight", 0.4, 1),
    ("anchor_deltas.weight", 0.15, 1),
    ("cls_score.weight", 2.0, 1),
    ("bbox_pred.weight", 0.5, 1),
    ("mask_head.predictor.weight", 2.0, 1),
    ("", 1, 2),
]


def read_list() -> pd.DataFrame:
    """Columns name, shape (such as 64x3x3x3) and crc32."""
    return pd.read_csv(DATA / "d2_weights.csv")


def make_weights(first_conv: float = 1.0) -> dict[str, torch.Tensor]:
    """All weights; `first_conv` multiplies those of the first convolution (model B: 0.9)."""
    table = read_list()
    weights = {
        name: make_tensor(name, tuple(map(int, shape.split("x"))))
        for name, shape in zip(table["name"], table["shape"], strict=True)
    }
    weights["backbone.bottom_up.stem.conv1_1.weight"] *= np.float32(first_conv)
    return {name: torch.from_numpy(value) for name, value in weights.items()}


def make_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32; every constant is rounded to float32 before it is used."""
    if name in BIASES:
        return np.array(BIASES[name], np.float32)
    draw = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        return np.float32(1) + np.float32(0.2) * np.abs(draw)
    if name.startswith("backbone.bottom_up") and name.endswith("conv3.norm.weight"):
        return np.float32(0.2) + np.float32(0.02) * draw  # the last norm of a residual block
    for end, constant, factor in OFFSETS:
        if name.endswith(end):
            value = np.float32(constant) + np.float32(factor) * draw
            if name.endswith("anchor_deltas.bias"):
                value.reshape(-1, 4)[:, 2:] += np.float32(0.7)
            return value
    fan_in = shape[0] if "deconv" in name else math.prod(shape[1:])
    a, b = next((a, b) for part, a, b in GAINS if part in name)
    return np.float32(a * math.sqrt(b / fan_in)) * draw
