"""Score one model on annotated images with the competition's metric.

    python src/evaluate_single_model.py --image_dir data/images \
        --annotation_dir data/annotations_semi_supervised_round2 \
        --weight models/pretrained_models/pseudo_round2_model.pth

Prints the mean average precision by cell type; writes evaluation.json and per_image.csv.
"""

from __future__ import annotations

import argparse

from utils.evaluation_report import add_arguments, evaluate_weights
from utils.runtime import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weight", default="models/pretrained_models/pseudo_round2_model.pth")
    add_arguments(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    evaluate_weights([args.weight], args)


if __name__ == "__main__":
    run_script(main, parse_args())
