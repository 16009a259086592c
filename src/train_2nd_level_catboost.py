r"""Train the 2nd-level model, which predicts each instance's IoU with its true cell.

    python src/train_2nd_level_catboost.py
    python src/train_2nd_level_catboost.py --cv 5
    python src/train_2nd_level_catboost.py --image_dir data/images \
        --annotation_dir data/annotations_semi_supervised_round2 --cv 5

Run prepare_for_2nd_level_model.py first. One half of the images tells what a model of the other
half is worth (with --cv K: each of K parts, from a model of the others); the model that is written
is trained on all. Writes catboost.pkl, features.csv, report.json and two plots into --out_dir,
and catboost.json: the models that it belongs to.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from utils.files import check_folder, write_json
from utils.options import above, add_data_options, at_least, between, script_parser
from utils.script import InputError, run_script

if TYPE_CHECKING:
    import numpy as np

    from second_level.fitting import Settings, TrainingSet


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--data_dir", default="data_for_2nd_level_model", help="folder of the pickles")
    add_data_options(parser)
    add("--out_dir", default="my_2nd_level_model", help="its folder (default: %(default)s)")
    add(
        "--drop_threshold",
        type=between(0.0, 1.0),
        help="predicted IoU under which an instance is dropped; stored in the model (default: the "
        "best one on the images that are measured)",
    )
    add("--cv", type=at_least(2), help="report on K parts instead of one half")
    add("--iterations", type=at_least(1), default=700, help="trees (default: %(default)s)")
    add("--depth", type=between(1, 16), default=2, help="of a tree (default: %(default)s)")
    add("--learning_rate", type=above(0.0), default=0.02, help="default: %(default)s")
    add("--l2", type=at_least(0.0), default=1.0, help="leaves' regularisation (default: 1)")
    add("--seed", type=at_least(0), default=67, help="of trees and split (default: %(default)s)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from cells.annotations import annotation_file, load_annotations
    from second_level.fitting import Settings, fit, load_training_set
    from second_level.pairing import write_pairing
    from second_level.report import (
        TOP,
        importances,
        plot_importances,
        plot_predicted_iou,
        write_model,
    )

    check_folder("--out_dir", args.out_dir)
    path = annotation_file(args.annotation_dir, "valid", args.fold)
    truth = load_annotations(path, args.image_dir, args.skip_invalid)
    data = load_training_set(args.data_dir, truth)
    settings = Settings(args.iterations, args.depth, args.learning_rate, args.l2, args.seed)
    title, predicted, drop_threshold, report = assess(data, settings, args)
    model = fit(data.table, data.iou, settings, "training on all images")
    top = importances(model).head(TOP)
    print(f"\nmost important features (%)\n{top.round(2).to_string()}\n")
    out_dir = Path(args.out_dir)
    stored = {"drop_threshold": drop_threshold, "detection_share": data.detection_share}
    write_model(out_dir, model, stored)
    if data.weights:
        write_pairing(out_dir / "catboost.pkl", data.weights)
    plot_importances(out_dir / "feature_importance.png", model)
    plot_predicted_iou(out_dir / "predicted_iou.png", predicted, data.iou, title)
    report |= {"importance": top.to_dict(), "options": vars(args), **stored}
    write_json(out_dir / "report.json", report)
    print(f"instances of a predicted IoU under {drop_threshold:g} are dropped, as the model says")
    print(f"written: {out_dir}/catboost.pkl, features.csv, report.json and two plots")


def assess(
    data: TrainingSet, settings: Settings, args: argparse.Namespace
) -> tuple[str, np.ndarray, float, dict]:
    """Measure on images that the model was not trained on, and print the result.

    Returns:
        Title, predicted IoU (NaN where not tested), the drop threshold that was given or is best,
        and the numbers for the report.
    """
    import numpy as np

    from second_level.fitting import figures, predict_held_out, split_images
    from second_level.report import print_report
    from second_level.sweep import SWEEP, sweep_drop_thresholds

    count = len(data.records)
    if args.cv is not None and args.cv > count:
        raise InputError(f"--cv {args.cv}: only {count} images with predictions; give fewer parts")
    parts = split_images(count, args.cv or 2, args.seed)
    tested = parts if args.cv else parts[1:]
    predicted = predict_held_out(data, tested, settings)
    images = sum(map(len, tested))
    title = f"{images} images, model of the other {'parts' if args.cv else 'half'}"
    given = [] if args.drop_threshold is None else [args.drop_threshold]
    sweep = sweep_drop_thresholds(data, predicted, np.union1d(SWEEP, given))
    chosen = sweep.best if args.drop_threshold is None else args.drop_threshold
    measured = figures(data, predicted, chosen)
    before, honest_gain = float(sweep.before.mean()), sweep.honest_gain(tested)
    print_report(title, measured, before, sweep.table(), honest_gain)
    finite = {k: v if math.isfinite(v) else None for k, v in measured.items()}
    report = {
        "tested": title,
        **finite,
        "mAP without rescoring": before,
        "mAP with rescoring": sweep.table().reset_index().to_dict(orient="records"),
        "gain with the threshold of the other parts": honest_gain if args.cv else None,
    }
    return title, predicted, chosen, report


if __name__ == "__main__":
    run_script(main, parse_args())
