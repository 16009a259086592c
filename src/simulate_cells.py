"""Write a simulated data set of phase-contrast images, to try the whole pipeline without any data.

    python src/simulate_cells.py --out_dir data/simulated --n_train 60 --n_valid 12 --seed 67
    python src/simulate_cells.py --layouts annotations_train_0.json --n_train 200 --workers 4

Images are in <out_dir>/images, COCO annotations in <out_dir>/annotations. Each image holds one
cell type; the types take turns. With --layouts the cells are drawn on the masks of an existing
annotation file instead of on random shapes. An image depends on the seed, its split and its number
only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.files import check_folder
from utils.options import at_least, script_parser
from utils.script import InputError, run_script

MIN_SIDE = 32  # pixels; smaller images hold no whole cell


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--out_dir", default="data/simulated", help="(default: %(default)s)")
    add("--n_train", type=at_least(0), default=60, help="training images (default: %(default)s)")
    add("--n_valid", type=at_least(0), default=12, help="validation images (default: %(default)s)")
    add("--seed", type=at_least(0), default=67, help="0 or more (default: %(default)s)")
    add(
        "--image_size",
        type=at_least(MIN_SIDE),
        nargs=2,
        default=(704, 520),
        metavar=("WIDTH", "HEIGHT"),
        help="pixels (default: 704 520); images of --layouts keep their own size",
    )
    add("--layouts", metavar="FILE", help="COCO annotation file whose masks are drawn")
    add("--workers", type=at_least(1), default=1, help="processes that draw (default: %(default)s)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if args.n_train + args.n_valid == 0:
        raise InputError("--n_train and --n_valid: both are 0; give a number of images")
    check_folder("--out_dir", args.out_dir)
    from simulation.dataset import check_replaceable, load_layouts, random_layouts, write_split

    width, height = args.image_size
    choices = load_layouts(Path(args.layouts)) if args.layouts else random_layouts((height, width))
    splits = ("train", args.n_train), ("valid", args.n_valid)
    for split, count in splits:
        if count:
            check_replaceable(Path(args.out_dir), split)
    for number, (split, count) in enumerate(splits):
        if count:
            seed = args.seed, number
            write_split(Path(args.out_dir), split, count, seed, choices, args.workers)


if __name__ == "__main__":
    run_script(main, parse_args())
