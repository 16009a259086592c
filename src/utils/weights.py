"""Weights out of a file: whether they are what they say."""

from __future__ import annotations

import math


def check_weights(weights: object) -> None:
    """Check names and tensors of a state dict; reads every number once.

    Raises:
        TypeError, ValueError: names what is no usable tensor of weights.
    """
    import torch

    if not isinstance(weights, dict) or not weights:
        raise ValueError("no weights in it")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise TypeError(f"{name!r:.60} is not a tensor of weights")
        if value.layout != torch.strided or value.is_complex() or value.is_quantized:
            raise TypeError(f"{name!r:.60} is an unusual tensor")
        if value.device.type != "cpu" or value.numel() > value.untyped_storage().nbytes():
            raise ValueError(f"{name!r:.60} has fewer numbers than it says")
        # a sum is finite only if all its terms are
        if value.is_floating_point() and not math.isfinite(value.sum(dtype=torch.float32)):
            raise ValueError(f"{name!r:.60} holds numbers that are not finite")
