"""Download the published gold-medal weights and what belongs to them.

    bash download_models.sh
    bash download_models.sh --livecell      # also the weights that their training started from

The segmentation models are converted to models/pretrained_models/pseudo_round1_model.pth and
pseudo_round2_model.pth; the originals stay in models/pretrained_models/detectron2/. The published
second-level model goes beside the bundled one, its demo images into demo_images/. Files that are
there already are checked and stay. Run it again after a failure: it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from published.downloads import Download, add_download_options, obtain_all
from published.transfer import google_drive
from second_level.pairing import hash_weights, write_pairing
from utils.options import script_parser
from utils.paths import PUBLISHED_MODELS, PUBLISHED_SECOND_LEVEL
from utils.script import InputError, run_script

FOLDER = "models/pretrained_models"
BRANCHES = ("main", "master")
REPOSITORY = "https://raw.githubusercontent.com/gallegi/T4E_Sartorius_Cell_InstanceSegmentation"
LIVECELL_URL = (
    "https://livecell-dataset.s3.eu-central-1.amazonaws.com/LIVECell_dataset_2021/models/"
    "Anchor_based/ALL/LIVECell_anchor_based_model.pth"
)
DEMO_IMAGES = [f"demo_images/{i}.png" for i in ("7ae19de7bc2a", "d48ec7815252", "d8bfd1dafdc4")]


def from_repository(path: str, original: str) -> Download:
    """A file of the original solution's repository, whatever its main branch is called."""
    return Download(path, tuple(f"{REPOSITORY}/{branch}/{original}" for branch in BRANCHES))


SECOND_LEVEL_AND_ITS_MODELS = [
    Download(
        f"{FOLDER}/detectron2/pseudo_round1_model_final.pth",
        google_drive("1K-VHE4SPybakkm5vpwUT7RK367SJU0Ky"),
        PUBLISHED_MODELS[0],
    ),
    Download(
        f"{FOLDER}/detectron2/pseudo_round2_model_final.pth",
        google_drive("14MxtNPxWkbwIft-5mqwG1EEz-oC18VpQ"),
        PUBLISHED_MODELS[1],
    ),
    from_repository(PUBLISHED_SECOND_LEVEL, "2nd_level_model/catboost.pkl"),
    from_repository("2nd_level_model/published_features.csv", "2nd_level_model/features.xls"),
]
DOWNLOADS = [
    *SECOND_LEVEL_AND_ITS_MODELS,
    *(from_repository(image, image) for image in DEMO_IMAGES),
]
LIVECELL = Download(
    f"{FOLDER}/detectron2/LIVECell_anchor_based_model.pth",
    (LIVECELL_URL,),
    f"{FOLDER}/livecell_model.pth",
)


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--livecell", action="store_true", help="also the weights that LIVECell published"
    )
    add_download_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    downloads = [*DOWNLOADS, LIVECELL] if args.livecell else DOWNLOADS
    failed = obtain_all(downloads, f"{FOLDER}/downloads.json", convert, args)
    root = Path(args.root)
    if not {d.path for d in failed} & {d.path for d in SECOND_LEVEL_AND_ITS_MODELS}:
        weights = [str(root / path) for path in PUBLISHED_MODELS]
        write_pairing(root / PUBLISHED_SECOND_LEVEL, hash_weights(weights))
    return 1 if failed else 0


def convert(checkpoint: Path, output: Path) -> None:
    """Run convert_detectron2.py.

    Raises:
        InputError: it failed; the downloaded checkpoint stays.
    """
    script = Path(__file__).with_name("convert_detectron2.py")
    command = [sys.executable, script, "--input", checkpoint, "--output", output]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it was killed (out of memory?)"]
        raise InputError(f"{output}: not converted: {lines[-1].removeprefix('error: ')}")
    print(done.stdout, end="")


if __name__ == "__main__":
    run_script(main, parse_args())
