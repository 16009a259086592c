r"""Note which segmentation models a 2nd-level model belongs to, so that it is used with them.

    python src/pair_2nd_level.py --weights 'a.pth b.pth' \
        --2nd_level_model 2nd_level_model/my_catboost.pkl

Its feature list lies beside it, 2nd_level_model/my_features.csv. Writes the SHA-256 of the files
into a JSON file beside the model. train_2nd_level_catboost.py does
it by itself; this is for models that were trained before, or whose checkpoints were written anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from second_level.pairing import MODEL_SUFFIXES, hash_weights, pairing_file, write_pairing
from utils.options import add_weights_option, script_parser
from utils.paths import choose_weights
from utils.script import InputError, run_script


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_weights_option(parser, default=None)
    parser.add_argument(
        "--2nd_level_model",
        dest="second_level_model",
        required=True,
        help="CatBoost model, with its feature list beside it",
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from second_level.model import feature_list_of, load_second_level

    weights = choose_weights(args.weights)
    model = Path(args.second_level_model)
    if not model.is_file() or model.suffix not in MODEL_SUFFIXES:
        kinds = " or ".join(MODEL_SUFFIXES)
        raise InputError(f"--2nd_level_model {model}: no {kinds} file; give a CatBoost model")
    load_second_level(model, feature_list_of(str(model)))  # or it cannot be used
    write_pairing(args.second_level_model, hash_weights(weights))
    print(f"{pairing_file(args.second_level_model)}: belongs to {', '.join(weights)}")


if __name__ == "__main__":
    run_script(main, parse_args())
