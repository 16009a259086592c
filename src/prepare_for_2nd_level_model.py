r"""Predict the validation images, to train the 2nd-level model on the predictions.

    python src/prepare_for_2nd_level_model.py --image_dir data/images \
        --annotation_dir data/annotations_semi_supervised_round2 \
        --weights 'models/pretrained_models/pseudo_round1_model.pth
                   models/pretrained_models/pseudo_round2_model.pth'
    python src/prepare_for_2nd_level_model.py --weights 'a.pth b.pth' --resume

Writes one pickle for each image of annotations_valid_<fold>.json into --out_dir. Use images that
the models were not trained on: on others their predictions are better than they will be.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from utils.files import check_folder, remove_leftovers
from utils.options import (
    add_compute_options,
    add_data_options,
    add_prediction_options,
    add_weights_option,
    between,
    script_parser,
)
from utils.paths import split_paths
from utils.script import InputError, quiet_libraries, run_script

if TYPE_CHECKING:
    from cells.annotations import AnnotationSet
    from network.tiling import TiledEnsemble

# Options that the predictions depend on, beside the models.
SETTINGS = (
    *("score_thr", "tta", "scale", "diameter", "pixel_size", "tile", "overlap"),
    "detection_share",
)


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add_data_options(parser)
    add_weights_option(parser)
    add("--out_dir", default="data_for_2nd_level_model", help="folder of the pickles")
    add(
        "--resume",
        action="store_true",
        help="skip images whose pickle is there, of the same models and options",
    )
    add(
        "--detection_share",
        type=between(0.01, 1.0),
        default=1.0,
        help="also cells from this share of the models' thresholds on, of which the 2nd-level "
        "model can keep some (default: %(default)s)",
    )
    add_prediction_options(parser)
    add_compute_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from cells.annotations import annotation_file, check_same_classes, load_annotations
    from network.setup import ensemble_from
    from second_level.pairing import hash_weights

    check_folder("--out_dir", args.out_dir)
    weights = split_paths(args.weights)
    hashes = tuple(hash_weights(weights))
    path = annotation_file(args.annotation_dir, "valid", args.fold)
    truth = load_annotations(path, args.image_dir, args.skip_invalid)
    ensemble = ensemble_from(args, weights)
    check_same_classes("--weights", ensemble.class_names, "the annotations", truth.class_names)
    ensemble.lower_thresholds(args.detection_share)
    predict_images(ensemble, hashes, truth, args)


def predict_images(
    ensemble: TiledEnsemble,
    hashes: tuple[str, ...],
    truth: AnnotationSet,
    args: argparse.Namespace,
) -> None:
    """Write the predictions of every image (with the models' hashes), and a line that sums up."""
    from tqdm import tqdm

    from cells.annotations import read_ahead
    from second_level.predictions import ImagePredictions, prediction_path, write_predictions

    out_dir, share = args.out_dir, args.detection_share
    if args.resume:  # what a kill has left
        remove_leftovers(prediction_path(out_dir, record.id) for record in truth.images)
    settings = json.dumps({name: getattr(args, name) for name in SETTINGS})
    wanted = [
        (record, path)
        for record in truth.images
        for path in [prediction_path(out_dir, record.id)]
        if not (args.resume and _is_there(path, hashes, settings))
    ]
    replaced = sum(path.is_file() for _, path in wanted) if args.resume else 0
    if replaced:
        print(f"{replaced} pickle(s) of other models or options, or damaged: predicted anew")
    count = 0
    images = read_ahead([record for record, _ in wanted], ensemble.grey_rule)
    bar = tqdm(zip(wanted, images, strict=True), total=len(wanted), desc="predicting")
    for (record, path), (_, image) in bar:
        found = ensemble.candidates(image)
        count += len(found.kept)
        predictions = ImagePredictions(
            image_id=record.id,
            image_path=str(record.path),
            class_names=ensemble.class_names,
            instances=found.kept,
            weights=hashes,
            # tiles of a larger image have thresholds of their own
            threshold=max(found.threshold / share, 0.0),
            detection_share=share,
            grey_rule=ensemble.grey_rule,
            settings=settings,
            image_scale=ensemble.tiling.image_scale,
            tile=(*ensemble.tile_size, ensemble.tiling.overlap),
            unlowered=found.unlowered,
        )
        write_predictions(path, predictions)
    skipped = len(truth.images) - len(wanted)
    print(f"{len(wanted)} image(s), {count} instances -> {out_dir}; {skipped} were there already")


def _is_there(path: Path, hashes: tuple[str, ...], settings: str) -> bool:
    """Whether an image's predictions are those that would be made now."""
    from second_level.predictions import read_predictions

    try:
        there = read_predictions(path)
    except InputError:  # missing or damaged
        return False
    complete = there.tile is not None  # earlier versions do not tell it
    return complete and (there.weights, there.settings) == (hashes, settings)


if __name__ == "__main__":
    run_script(main, parse_args())
