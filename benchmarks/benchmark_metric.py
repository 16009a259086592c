"""Time and memory of the competition's metric on one crowded image.

    python benchmarks/benchmark_metric.py

500 true cells and 600 predictions on 704 x 520 pixels, overlaps resolved; one core. Compared with
the straightforward version, which holds every mask as a full frame and multiplies matrices.
"""

from __future__ import annotations

import os

# before NumPy starts its threads
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from measuring import median_seconds, peak_megabytes

from cells.instances import Instances
from cells.masks import binary_crops, label_image, paste
from cells.rle import encode
from evaluation.metrics import ImageScore, count_matches, score_image
from utils.options import script_parser

HEIGHT, WIDTH = 520, 704


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--truths", type=int, default=500)
    add("--predictions", type=int, default=600)
    add("--repeats", type=int, default=20, help="the median of these is printed")
    add("--skip_full", action="store_true", help="leave the full-mask version out (2 GB of memory)")
    return parser.parse_args()


def ellipse(rng: np.random.Generator, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Soft crop of a cell of 10 to 50 pixels, float32 [h, w], and its offset (x, y)."""
    radii = rng.uniform(5, 25), rng.uniform(5, 12)
    reach = int(max(radii)) + 1
    crop = np.zeros((2 * reach, 2 * reach), np.float32)
    cv2.ellipse(crop, ((reach, reach), [2 * r for r in radii], rng.uniform(0, 180)), 0.9, -1)
    offset = np.clip(np.round(centre).astype(int) - reach, 0, (WIDTH, HEIGHT))
    size = np.minimum(offset + 2 * reach, (WIDTH, HEIGHT)) - offset
    return crop[: size[1], : size[0]], offset


def crowded_image(truths: int, predictions: int, seed: int = 0) -> tuple[Instances, list[dict]]:
    """Predictions (truths moved by some pixels, then others at random places) and true masks."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform((10, 10), (WIDTH - 30, HEIGHT - 30), (max(truths, predictions), 2))
    seeds = rng.integers(0, 2**31, len(centres))
    true = [ellipse(np.random.default_rng(s), c) for s, c in zip(seeds, centres, strict=True)]
    moved = centres + rng.normal(0, 1.5, centres.shape)
    found = [ellipse(np.random.default_rng(s), c) for s, c in zip(seeds, moved, strict=True)]
    rles = [encode(paste(crop >= 0.5, o, (HEIGHT, WIDTH))) for crop, o in true[:truths]]
    instances = Instances(
        image_size=(HEIGHT, WIDTH),
        boxes=np.zeros((predictions, 4), np.float32),
        scores=rng.random(predictions).astype(np.float32),
        labels=np.zeros(predictions, np.int64),
        masks=[crop for crop, _ in found[:predictions]],
        offsets=np.array([offset for _, offset in found[:predictions]]),
    )
    return instances, rles


def fast(instances: Instances, rles: list[dict]) -> ImageScore:
    """The project's own."""
    return score_image(label_image(instances), len(instances), rles)


def full_masks(instances: Instances, truth: np.ndarray) -> ImageScore:
    """Straightforward: every mask a frame; `truth` is bool [M, height, width]."""
    frames = np.stack(
        [
            paste(crop, offset, instances.image_size)
            for crop, offset in zip(binary_crops(instances), instances.offsets, strict=True)
        ]
    )
    taken = np.zeros(instances.image_size, bool)
    for i in np.argsort(-instances.scores, kind="stable"):
        frames[i] &= ~taken
        taken |= frames[i]
    flat_found = frames.reshape(len(frames), -1).astype(np.float32)
    flat_truth = truth.reshape(len(truth), -1).astype(np.float32)
    covered = (flat_found @ flat_truth.T).astype(np.float64)
    areas = flat_found.sum(axis=1)[:, None] + flat_truth.sum(axis=1)[None]
    return count_matches(covered / (areas - covered))


def main(args: argparse.Namespace) -> None:
    instances, rles = crowded_image(args.truths, args.predictions)
    ours = fast(instances, rles)
    print(
        f"{len(rles)} truths, {len(instances)} predictions on {WIDTH} x {HEIGHT}: AP {ours.ap:.4f}"
    )
    seconds = median_seconds(fast, args.repeats, instances, rles)
    print(f"crops and RLE: {1e3 * seconds:.1f} ms, {peak_megabytes(fast, instances, rles):.1f} MB")
    if args.skip_full:
        return
    truth = np.stack([coco_mask.decode(rle).astype(bool) for rle in rles])
    start = time.process_time()
    reference = full_masks(instances, truth)
    slow = time.process_time() - start
    assert all(
        (getattr(ours, kind) == getattr(reference, kind)).all() for kind in ("tp", "fp", "fn")
    )
    megabytes = peak_megabytes(full_masks, instances, truth)
    print(f"full masks, same counts: {1e3 * slow:.1f} ms, {megabytes:.1f} MB")
    print(f"ratio: {slow / seconds:.1f}x in time")


if __name__ == "__main__":
    main(parse_args())
