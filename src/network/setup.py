"""Models and the way they look at images, as the options of a script say."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from network.ensemble import Ensemble, load_ensemble
from network.scale import cell_diameters, training_pixel_size
from network.tiling import TiledEnsemble, Tiling
from utils.device import resolve_device, resolve_precision, use_threads
from utils.script import InputError

# Beyond, a cell is smaller than a pixel, or larger than any image.
LEAST_SCALE, LARGEST_SCALE = 0.01, 100.0


def ensemble_from(
    args: argparse.Namespace, weights: Sequence[str], device: torch.device | None = None
) -> TiledEnsemble:
    """Load models as `add_compute_options` and `add_prediction_options` say.

    Args:
        args: the options.
        weights: checkpoints.
        device: where to compute instead of `--device`.

    Raises:
        InputError: a checkpoint or an option cannot be used.
    """
    device = device or resolve_device(args.device)
    dtype = resolve_precision(args.precision, device)
    use_threads(args.threads)
    tta = ("flip",) if args.tta == [] else tuple(args.tta or ())
    ensemble = load_ensemble(weights, device, dtype, args.score_thr, tta, args.compile)
    tiling = Tiling(image_scale_from(args, ensemble), tile_size_from(args), args.overlap)
    return TiledEnsemble(ensemble, tiling)


def tile_size_from(args: argparse.Namespace) -> tuple[int, int] | None:
    """(height, width) from the width and height, or the one side, that `--tile` gives.

    Raises:
        InputError: more than two numbers.
    """
    if args.tile is None:
        return None
    if len(args.tile) > 2:
        raise InputError("--tile: give a width and a height, or one side of squares")
    return args.tile[-1], args.tile[0]


def image_scale_from(args: argparse.Namespace, ensemble: Ensemble) -> float:
    """Size of the images' pixels relative to those of the training images.

    `--scale` says it, or `--diameter`, or `--pixel_size` where the models know their own; without
    any of them the pixels are taken to be as large as the training's.

    Raises:
        InputError: `--diameter` for models that do not know their cells' size; or a size that no
            image can have.
    """
    scale = _told_scale(args, ensemble)
    if not LEAST_SCALE <= scale <= LARGEST_SCALE:
        flag = next(f for f in ("scale", "diameter", "pixel_size") if getattr(args, f) is not None)
        raise InputError(
            f"--{flag} {getattr(args, flag):g}: a pixel would be {scale:.3g} times as large as the "
            f"training images'; {LEAST_SCALE:g} to {LARGEST_SCALE:g} times is possible"
        )
    return scale


def _told_scale(args: argparse.Namespace, ensemble: Ensemble) -> float:
    if args.scale is not None:
        return args.scale
    detectors = [view.detector for view in ensemble.views]
    if args.diameter is not None:
        for detector in detectors:
            known = cell_diameters(detector.inference, ensemble.class_names)
            if known:
                return known["default"] / args.diameter
        raise InputError(
            "--diameter: the models do not know how large the cells that they were trained on are; "
            "give --scale"
        )
    if args.pixel_size is not None:
        for detector in detectors:
            known = training_pixel_size(detector.inference, ensemble.class_names)
            if known:
                return args.pixel_size / known
    return 1.0
