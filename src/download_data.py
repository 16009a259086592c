"""Download the images and annotations that the gold-medal models were trained on.

    bash download_data.sh

They are unpacked to data/images, data/annotations_semi_supervised_round1 and _round2 and checked as
train_cis.py checks them. A folder that is there already stays as it is. Run it again after a
failure: it goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from published.downloads import Download, add_download_options, obtain_all
from published.transfer import google_drive
from utils.options import script_parser
from utils.script import InputError, print_error, run_script

IMAGES = "data/images"
ANNOTATIONS = [f"data/annotations_semi_supervised_round{i}" for i in (1, 2)]
FILE_IDS = {
    ANNOTATIONS[0]: "1M7C6FHgBnCjxo7qTmz3Zn0tHTwznEEGy",
    ANNOTATIONS[1]: "1coW2dINEvQba50vAaOSvURCQa_8L4CHR",
    IMAGES: "133nHthlCY-qnnXG35GQU8iyoxgoPM7bP",
}
DOWNLOADS = [
    Download(f"{folder}.zip", google_drive(file_id), folder) for folder, file_id in FILE_IDS.items()
]


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add_download_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    failures = len(obtain_all(DOWNLOADS, "data/downloads.json", unpack_data, args))
    failures += check_annotations(Path(args.root))
    return 1 if failures else 0


def unpack_data(archive: Path, folder: Path) -> None:
    """Unpack images or annotations."""
    from published.contents import unpack

    unpack(archive, folder, "train/*" if folder.name == "images" else "annotations_*.json")


def check_annotations(root: Path) -> int:
    """Check what is there as train_cis.py does, report it, and return the number of bad files."""
    if not (root / IMAGES).is_dir():
        return 0
    files = [
        path for name in ANNOTATIONS for path in sorted((root / name).glob("annotations_*.json"))
    ]
    if not files:
        return 0
    from cells.annotations import load_annotations

    failures = 0
    for path in files:
        try:
            annotations = load_annotations(path, root / IMAGES)
        except InputError as error:
            print_error(error)
            failures += 1
            continue
        cells = sum(len(image.rles) for image in annotations.images)
        names = ", ".join(annotations.class_names)
        print(f"{path}: {len(annotations.images)} images, {cells} cells ({names})")
    return failures


if __name__ == "__main__":
    run_script(main, parse_args())
