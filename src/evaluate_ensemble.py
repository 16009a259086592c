r"""Score the ensemble of several models on annotated images with the competition's metric.

    python src/evaluate_ensemble.py --image_dir data/images \
        --annotation_dir data/annotations_semi_supervised_round2 \
        --weights 'models/pretrained_models/pseudo_round1_model.pth
                   models/pretrained_models/pseudo_round2_model.pth'
    python src/evaluate_ensemble.py --weights 'a.pth b.pth' --out predictions.json
    python src/evaluate_ensemble.py --predictions predictions.json
    torchrun --nproc_per_node 2 src/evaluate_ensemble.py --weights 'a.pth b.pth'

By default it scores what infer_cis.py writes: its models, thresholds and 2nd-level model.
Prints the score by cell type, and COCO's average precision; writes evaluation.json and
per_image.csv into --out_dir. --predictions also takes those of other programs.
"""

from __future__ import annotations

import argparse

from evaluation.job import add_arguments, run_evaluation
from reports.option import evaluation_report
from second_level.pairing import find_second_level, hash_weights
from utils.options import (
    add_second_level_arguments,
    add_weights_option,
    check_second_level_arguments,
    script_parser,
)
from utils.paths import choose_weights
from utils.script import InputError, quiet_libraries, run_script


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_weights_option(parser, default=None)
    add_arguments(parser)
    add_second_level_arguments(parser, by_default=True)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    check_second_level_arguments(args)
    if args.predictions and args.second_level_model:
        raise InputError(
            "--2nd_level_model: works on the models' probabilities, which --predictions do not "
            "hold; leave one of them out"
        )
    from second_level.model import second_level_from

    weights = [] if args.predictions else choose_weights(args.weights)
    usual = find_second_level(hash_weights(weights)) if weights and args.second_level else None
    second_level = second_level_from(args, usual)
    with evaluation_report(args):
        if second_level is None:
            run_evaluation(weights, args)
        else:
            run_evaluation(weights, args, second_level.rescore, second_level.detection_share)


if __name__ == "__main__":
    run_script(main, parse_args())
