"""What the way an image is stored changes in the score: 8 bit, 16 bit, a camera's own numbers.

    python benchmarks/benchmark_values.py --image_dir data/images \
        --annotation_dir data/my_annotations --weights models/a.pth --images 18

Segments validation images, as many of each class, as they are stored (8 bit), times 257, times 4
plus an offset, as a camera of 12 bits with a little noise would have taken them (their contrast is
then a convention, and comes from the models' grey rule), and stretched between their 0.1 and 99.9
percentiles, which was the way before. Prints the competition's mAP of each as a Markdown table;
--spreads tries other contrasts for the camera's images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from tables import markdown
from validation import add_validation_options, prepare

from utils.options import above, at_least, script_parser
from utils.paths import split_paths
from utils.script import quiet_libraries, run_script

if TYPE_CHECKING:
    import numpy as np

    from cells.annotations import AnnotatedImage
    from cells.grey import GreyRule

Way = Callable[["np.ndarray"], "np.ndarray"]  # from uint8 BGR to what the models are shown


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_validation_options(parser)
    add = parser.add_argument
    add("--images", type=at_least(1), default=18, help="how many (default: %(default)s)")
    add(
        "--spreads", type=above(0.0), nargs="*", default=[], help="contrasts to try, in grey levels"
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    import torch

    from evaluation.evaluator import for_each_image
    from evaluation.metrics import compare_instances, image_result, summarise
    from network.ensemble import load_ensemble
    from utils.device import resolve_precision

    truth = prepare(args)
    device = torch.device("cpu")
    ensemble = load_ensemble(split_paths(args.weights), device, resolve_precision("auto", device))
    ways = ways_of(ensemble.grey_rule, args.spreads)

    def examine(record: AnnotatedImage, image: np.ndarray) -> dict:
        found = {name: ensemble.predict(way(image)) for name, way in ways.items()}
        return {
            name: image_result(record, compare_instances(i, record)) for name, i in found.items()
        }

    results = for_each_image(examine, chosen(truth.images, args.images))
    columns = [*truth.class_names, "all"]
    rows = []
    for name in ways:
        table = summarise([result[name] for result in results], truth.class_names)
        rows.append(
            (name, *(f"{table['mAP'].get(column, float('nan')):.4f}" for column in columns))
        )
    print(markdown(("stored as", *columns), rows))


def chosen(records: Sequence[AnnotatedImage], count: int) -> list[AnnotatedImage]:
    """`count` of the images, the classes by turns, evenly spaced within each."""
    by_class: dict[int, list[AnnotatedImage]] = {}
    for record in records:
        if len(record.labels):
            by_class.setdefault(int(record.labels[0]), []).append(record)
    each = max(1, count // len(by_class))
    return [
        record
        for _, own in sorted(by_class.items())
        for record in own[:: max(1, len(own) // each)][:each]
    ]


def ways_of(rule: GreyRule, spreads: Sequence[float]) -> dict[str, Way]:
    """By name, from uint8 BGR to what the models are shown."""
    import numpy as np

    from cells.grey import grey_map

    def mapped(store: Way, rule: GreyRule = rule) -> Way:
        def show(image: np.ndarray) -> np.ndarray:
            raw = store(image)
            return grey_map(raw, rule)(raw)

        return show

    def camera(image: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, 6, (*image.shape[:2], 1))
        return np.rint(image * 16.0 + noise + 300).astype(np.uint16)

    def stretched(image: np.ndarray) -> np.ndarray:
        low, high = np.percentile(image, (0.1, 99.9))
        return np.clip((image - low) * (255 / max(high - low, 1)), 0, 255).round().astype(np.uint8)

    return {
        "8 bit": mapped(lambda image: image),
        "16 bit, times 257": mapped(lambda image: image.astype(np.uint16) * 257),
        "16 bit, times 4 plus 1003": mapped(lambda image: image.astype(np.uint16) * 4 + 1003),
        f"12-bit camera, spread {rule.spread:g}": mapped(camera),
        **{
            f"12-bit camera, spread {spread:g}": mapped(camera, replace(rule, spread=spread))
            for spread in spreads
        },
        "stretched between percentiles": stretched,
    }


if __name__ == "__main__":
    run_script(main, parse_args())
