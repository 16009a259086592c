"""Score the ensemble of several models on annotated images with the competition's metric.

    python src/evaluate_ensemble.py --image_dir data/images \
        --annotation_dir data/annotations_semi_supervised_round2 \
        --weights 'models/pretrained_models/pseudo_round1_model.pth
                   models/pretrained_models/pseudo_round2_model.pth'

Prints the mean average precision by cell type; writes evaluation.json and per_image.csv.
"""

from __future__ import annotations

import argparse

from utils.evaluation_report import add_arguments, evaluate_weights
from utils.inputs import PUBLISHED_MODELS, split_paths
from utils.runtime import run_script


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=PUBLISHED_MODELS,
        help="checkpoints, also as one string separated by spaces",
    )
    add_arguments(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    evaluate_weights(split_paths(args.weights), args)


if __name__ == "__main__":
    run_script(main, parse_args())
