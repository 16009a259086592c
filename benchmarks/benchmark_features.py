"""Time and memory of all features of the 2nd-level model on crowded images; one core.

    python benchmarks/benchmark_features.py
    python benchmarks/benchmark_features.py --skip_full

500 instances on 704 x 520 pixels, compared with the straightforward version, which holds every mask
as a full frame; then 100 to 2,000 instances on the same image, and on images that grow with them.
"""

from __future__ import annotations

import os

# before NumPy starts its threads
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import pickle
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from catboost import CatBoostRegressor
from measuring import median_seconds, peak_megabytes

from cells.instances import Instances
from cells.masks import paste
from second_level.features.table import FEATURE_NAMES, compute_features
from second_level.model import load_model, predict_iou
from utils.options import script_parser

HEIGHT, WIDTH = 520, 704
RADII, NEAREST = (25, 50, 75, 100, 150, 200), (2, 3, 5, 7)


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--instances", type=int, default=500)
    add("--repeats", type=int, default=5, help="the median of these is printed")
    add("--skip_full", action="store_true", help="leave the full-mask version out (2 GB of memory)")
    return parser.parse_args()


def crowded_image(count: int, size: tuple[int, int]) -> tuple[Instances, np.ndarray]:
    """Soft elliptic cells of 10 to 50 pixels at random places, and a grey image of noise."""
    rng = np.random.default_rng(0)
    height, width = size
    masks, offsets = [], []
    for x, y in rng.integers((0, 0), (width - 60, height - 60), (count, 2)).tolist():
        radii, angle = (rng.uniform(5, 25), rng.uniform(5, 12)), rng.uniform(0, 180)
        crop = np.zeros((60, 60), np.float32)
        cv2.ellipse(crop, ((30, 30), [2 * r for r in radii], angle), 0.95, -1)
        crop = cv2.GaussianBlur(crop, (0, 0), 1.5)
        left, top, w, h = cv2.boundingRect((crop > 0).astype(np.uint8))
        masks.append(crop[top : top + h, left : left + w].copy())
        offsets.append((x + left, y + top))
    sides = np.array([mask.shape[::-1] for mask in masks])
    instances = Instances(
        image_size=size,
        boxes=np.concatenate([offsets, offsets + sides], axis=1).astype(np.float32),
        scores=np.sort(rng.random(count, np.float32))[::-1],
        labels=np.zeros(count, np.int64),
        masks=masks,
        offsets=np.array(offsets, np.int64),
    )
    grey = rng.normal(128, 12, size).clip(0, 255).astype(np.uint8)
    return instances, np.repeat(grey[:, :, None], 3, axis=2)


def full_frames(instances: Instances, image: np.ndarray) -> dict[str, np.ndarray]:
    """The solution's features, straightforward: every mask a frame, one instance at a time."""
    probabilities = np.stack(
        [
            paste(mask, offset, instances.image_size)
            for mask, offset in zip(instances.masks, instances.offsets, strict=True)
        ]
    )
    masks = probabilities >= 0.5
    areas, scores = masks.sum(axis=(1, 2)), instances.scores.astype(np.float64)
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    shared = flat @ flat.T
    iou = shared / (areas[:, None] + areas[None] - shared)
    grey = image[:, :, 0]
    found = {
        "mask_area": areas,
        "neighbor_iou_mean": iou.mean(axis=1),
        "neighbor_iou_std": iou.std(axis=1),
    }
    rows, centroids = [], []
    for frame, mask in zip(probabilities, masks, strict=True):
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        outline = max(outlines, key=cv2.contourArea)
        moments = cv2.moments(outline)
        centroids.append([int(moments[m] / moments["m00"]) for m in ("m10", "m01")])
        hull = cv2.contourArea(cv2.convexHull(outline))
        axes = cv2.fitEllipse(outline)[1]
        values, pixels = frame[frame > 0], grey[frame > 0.5]
        quartiles = [np.quantile(v, [0.25, 0.5, 0.75]) for v in (values, pixels)]
        rows.append(
            {
                "solidity": cv2.contourArea(outline) / hull,
                "perimeter": cv2.arcLength(outline, closed=True),
                "minor_axis_length": axes[1],
                "min_pixel_score": values.min(),
                "max_pixel_score": values.max(),
                "mean_pixel_score": values.mean(),
                "std_pixel_score": values.std(ddof=1),
                "q1_pixel_score": quartiles[0][0],
                "q3_pixel_score": quartiles[0][2],
                "im_min_pixel": pixels.min(),
                "im_max_pixel": pixels.max(),
                "im_mean_pixel": pixels.mean(),
                "im_std_pixel": pixels.std(),
                "im_median_pixel": quartiles[1][1],
            }
        )
    distances = np.hypot(*(np.array(centroids)[:, None] - centroids).transpose(2, 0, 1))
    for i, row in enumerate(rows):
        order = np.argsort(distances[i], kind="stable")
        near = {f"r{r}": order[distances[i][order] <= r][1:] for r in RADII}
        near |= {f"top{k}": order[1:k] for k in NEAREST}
        for name, others in near.items():
            for quantity, values in (
                ("dist", distances[i]),
                ("area", areas),
                ("box_score", scores),
            ):
                chosen = values[others] if len(others) else np.array([-1.0])
                row[f"kdtree_nb_{name}_median_{quantity}"] = np.median(chosen)
                row[f"kdtree_nb_{name}_mean_{quantity}"] = chosen.mean()
    return found | {name: np.array([row[name] for row in rows]) for name in rows[0]}


def check_equal(instances: Instances, image: np.ndarray, slow: dict[str, np.ndarray]) -> None:
    """Both versions must agree; neighbours of instances at the same place may differ."""
    fast = compute_features(instances, image, list(slow))
    places = compute_features(instances, image, ["centroid_x", "centroid_y"])
    alone = ~places.duplicated(keep=False).to_numpy()
    for name, column in slow.items():
        # ties in distance: another one of the nearest may be left out
        least = 0.97 if "_top" in name else 1.0
        equal = np.isclose(fast[name], column, rtol=1e-4)[alone].mean()
        assert equal >= least, (name, equal)


def prediction_milliseconds(repeats: int, table: pd.DataFrame) -> tuple[float, float]:
    """Loading a pickled model of 700 trees, and predicting all rows with it."""
    rng = np.random.default_rng(0)
    model = CatBoostRegressor(
        iterations=700, depth=2, allow_writing_files=False, logging_level="Silent", thread_count=1
    )
    model.fit(table.fillna(-1), rng.random(len(table)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catboost.pkl"
        path.write_bytes(pickle.dumps(model))
        load_model(path)  # the first call starts the library
        load = median_seconds(load_model, repeats, path)
        model = load_model(path)
    return 1e3 * load, 1e3 * median_seconds(predict_iou, repeats, model, table)


def main(args: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    instances, image = crowded_image(args.instances, (HEIGHT, WIDTH))
    compute_features(instances, image)  # first calls are slower
    seconds = median_seconds(compute_features, args.repeats, instances, image)
    megabytes = peak_megabytes(compute_features, instances, image)
    print(f"{len(instances)} instances on {WIDTH} x {HEIGHT}, all {len(FEATURE_NAMES)} columns:")
    print(f"  crops: {1e3 * seconds:.0f} ms, {megabytes:.1f} MB")
    if not args.skip_full:
        reference = full_frames(instances, image)
        check_equal(instances, image, reference)
        names = list(reference)
        same = median_seconds(compute_features, args.repeats, instances, image, names)
        slow = median_seconds(full_frames, 1, instances, image)
        frames = peak_megabytes(full_frames, instances, image)
        print(f"{len(names)} of the columns, same values:")
        print(f"  crops: {1e3 * same:.0f} ms; full frames: {1e3 * slow:.0f} ms, {frames:.0f} MB")
        print(f"  ratio: {slow / same:.0f}x in time, {frames / megabytes:.0f}x in memory")
    load, predict = prediction_milliseconds(args.repeats, compute_features(instances, image))
    print(f"model of 700 trees: {load:.1f} ms to load, {predict:.1f} ms to predict")
    print("instances   same image: ms  MB   image grows: ms  MB")
    for count in (100, 250, 500, 1000, 2000):
        scale = np.sqrt(count / 500)
        grown = (round(HEIGHT * scale) + 30, round(WIDTH * scale) + 30)
        numbers = []
        for size in ((HEIGHT, WIDTH), grown):
            scene = crowded_image(count, size)
            numbers.append(1e3 * median_seconds(compute_features, args.repeats, *scene))
            numbers.append(peak_megabytes(compute_features, *scene))
        print("{:9d} {:16.0f} {:4.0f} {:15.0f} {:4.0f}".format(count, *numbers))


if __name__ == "__main__":
    main(parse_args())
