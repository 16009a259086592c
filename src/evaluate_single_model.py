r"""Score one model on annotated images with the competition's metric.

    python src/evaluate_single_model.py --image_dir data/images \
        --annotation_dir data/annotations_semi_supervised_round2 \
        --weight models/pretrained_models/pseudo_round2_model.pth
    python src/evaluate_single_model.py --weight a.pth --out predictions.json
    python src/evaluate_single_model.py --predictions predictions.json
    torchrun --nproc_per_node 2 src/evaluate_single_model.py --weight a.pth

Prints the score by cell type, and COCO's average precision; writes evaluation.json and
per_image.csv into --out_dir. --predictions also takes those of other programs.
"""

from __future__ import annotations

import argparse

from evaluation.job import add_arguments, run_evaluation
from reports.option import evaluation_report
from utils.options import script_parser
from utils.paths import PUBLISHED_MODELS, in_repository
from utils.script import run_script


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--weight", default=in_repository(PUBLISHED_MODELS[1]))
    add_arguments(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    with evaluation_report(args):
        run_evaluation([args.weight], args)


if __name__ == "__main__":
    run_script(main, parse_args())
