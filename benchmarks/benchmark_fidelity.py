r"""How far results in bf16, or of compiled backbones, are from those in fp32; on the CPU.

    python benchmarks/benchmark_fidelity.py --image_dir data/images \
        --annotation_dir data/my_annotations --weights 'models/a.pth models/b.pth'

Segments all validation images in each way and prints, as a Markdown table, the competition's mAP
and how much boxes (the largest of the four coordinates) and scores of matched instances differ from
fp32. Two instances match when their boxes are each other's best and have an IoU above 0.5. Rounding
also decides between boxes that are nearly as good; such a pair differs by a pixel or more.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from tables import markdown
from validation import add_validation_options, prepare

from utils.options import script_parser
from utils.paths import split_paths
from utils.script import quiet_libraries, run_script

if TYPE_CHECKING:
    import numpy as np

    from cells.instances import Instances
    from evaluation.metrics import ImageResult

MATCH_IOU = 0.5
CLOSE = 0.5  # pixels


@dataclass(frozen=True)
class Finding:
    """What one way of computing made of one image, compared with fp32.

    Attributes:
        result: against the truth.
        box_differences: float32 [K], pixels, of matched instances.
        score_differences: float32 [K].
    """

    result: ImageResult
    box_differences: np.ndarray
    score_differences: np.ndarray


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_validation_options(parser)
    parser.add_argument("--compile", action="store_true", help="also with compiled backbones")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    import torch

    from cells.annotations import AnnotatedImage
    from evaluation.evaluator import for_each_image
    from evaluation.metrics import compare_instances, image_result
    from network.ensemble import load_ensemble

    truth = prepare(args)
    ways = {"fp32": (torch.float32, False), "bf16": (torch.bfloat16, False)}
    if args.compile:
        ways |= {"bf16, compiled": (torch.bfloat16, True)}
    weights, device = split_paths(args.weights), torch.device("cpu")
    ensembles = {
        name: load_ensemble(weights, device, dtype, compile=compile)
        for name, (dtype, compile) in ways.items()
    }

    def examine(record: AnnotatedImage, image: np.ndarray) -> dict[str, Finding]:
        found = {name: ensemble.predict(image) for name, ensemble in ensembles.items()}
        return {
            name: Finding(
                image_result(record, compare_instances(instances, record)),
                *differences(found["fp32"], instances),
            )
            for name, instances in found.items()
        }

    rule = ensembles["fp32"].grey_rule
    print_table(for_each_image(examine, truth.images, grey_rule=rule), truth.class_names)


def differences(first: Instances, second: Instances) -> tuple[np.ndarray, np.ndarray]:
    """Of matched instances the largest differences of a box coordinate, and those of the scores."""
    import numpy as np

    from network.box_pairs import box_ious

    if not (len(first) and len(second)):
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    iou = box_ious(first.boxes, second.boxes)
    best = iou.argmax(axis=1)
    own = np.arange(len(first))
    one = own[(iou.argmax(axis=0)[best] == own) & (iou[own, best] > MATCH_IOU)]
    two = best[one]
    boxes = np.abs(first.boxes[one] - second.boxes[two]).max(axis=1)
    return boxes, np.abs(first.scores[one] - second.scores[two])


def print_table(images: list[dict[str, Finding]], class_names: tuple[str, ...]) -> None:
    """One row for each way of computing."""
    import numpy as np

    from evaluation.metrics import summarise

    rows, reference = [], None
    for name in images[0]:
        findings = [image[name] for image in images]
        score = summarise([finding.result for finding in findings], class_names).loc["all", "mAP"]
        reference = score if reference is None else reference
        boxes = np.concatenate([finding.box_differences for finding in findings])
        scores = np.concatenate([finding.score_differences for finding in findings])
        # without any match there is no largest difference
        pixels = np.quantile(boxes, [0.5, 0.99, 1]) if len(boxes) else [float("nan")] * 3
        close = f"{(boxes <= CLOSE).mean():.1%}" if len(boxes) else ""
        rows.append(
            (
                name,
                f"{score:.4f}",
                f"{score - reference:+.4f}",
                str(sum(finding.result.predictions for finding in findings)),
                str(len(boxes)),
                close,
                *(f"{value:.3f}" for value in (*pixels, scores.max(initial=0))),
            )
        )
    columns = ("", "mAP", "difference", "instances", "matched", f"within {CLOSE} px")
    print(markdown((*columns, "px: median", "99 %", "largest", "score: largest"), rows))


if __name__ == "__main__":
    run_script(main, parse_args())
