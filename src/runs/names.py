"""Names of outputs that do not clash, for the images of a run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cells.exports.formats import FORMATS
from utils.paths import ImageFile, printable

SUMMARY, RUN, SUBMISSION, REPORT = "summary.csv", "run.json", "submission.csv", "report.html"
THUMBNAILS = "report_thumbnails"  # folder, where a page cannot hold them
OF_THE_RUN = (SUMMARY, RUN, SUBMISSION, REPORT)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")  # formats that hold the colours of a picture
LONGEST_NAME = 180  # bytes; file systems take 255, and suffixes and temporary names come on top


def unique_names(images: Sequence[ImageFile]) -> list[str]:
    """Stems of the outputs, such that no file of one image is a file of another or of the run.

    They depend on all formats, not only on the chosen ones: another `--save` does not change them.
    """
    beside = Counter((image.path.parent, image.stem.casefold()) for image in images)
    stems = [
        f"{image.stem}_{image.path.suffix[1:]}"
        if beside[image.path.parent, image.stem.casefold()] > 1
        else image.stem
        for image in images
    ]
    folders = [Path(printable(image.path.absolute())).parent.parts[1:] for image in images]
    depths = [len(image.relative.parts) - 1 for image in images]
    first = list(map(_joined, folders, depths, stems))
    names = list(first)
    while clashing := _clashing(names, images):
        longer = [i for i in clashing if depths[i] < len(folders[i])]
        if not longer:
            return _numbered(names, first, clashing, images)
        for i in longer:
            depths[i] += 1
            names[i] = _joined(folders[i], depths[i], stems[i])
    return names


def _joined(folders: tuple[str, ...], depth: int, stem: str) -> str:
    """The last folders and the stem; what is too long for a file name ends with its hash."""
    name = "_".join([*folders[len(folders) - depth :], stem])
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[: LONGEST_NAME - 13].decode(errors='ignore')}_{digest}"


def picture_name(name: str, image: ImageFile) -> str:
    """The picture's file: in the image's own format where that holds colours, else PNG."""
    suffix = image.path.suffix
    return name + (suffix if suffix.lower() in PICTURE_SUFFIXES else ".png")


def _possible_files(name: str, image: ImageFile) -> Iterator[str]:
    """As a file system that ignores case sees them."""
    yield picture_name(name, image).casefold()
    for kind in FORMATS.values():
        yield f"{name}{kind.suffix}".casefold()


def _clashing(names: Sequence[str], images: Sequence[ImageFile]) -> list[int]:
    """Images of which a file has the name of a file of another one, or of the run."""
    files = [set(_possible_files(*pair)) for pair in zip(names, images, strict=True)]
    owners = Counter(file for of_image in files for file in of_image)
    owners.update(OF_THE_RUN)
    return [i for i, of_image in enumerate(files) if any(owners[file] > 1 for file in of_image)]


def _numbered(
    names: list[str], first: Sequence[str], clashing: Iterable[int], images: Sequence[ImageFile]
) -> list[str]:
    """For what no folder tells apart (`a_masks.png` beside `a.tif`): 2, 3 ... after the name."""
    names, clashing = list(names), list(clashing)
    taken = set(OF_THE_RUN)
    for i in set(range(len(names))) - set(clashing):
        taken.update(_possible_files(names[i], images[i]))
    for i in clashing:
        number, names[i] = 1, first[i]
        while taken.intersection(_possible_files(names[i], images[i])):
            number += 1
            names[i] = f"{first[i]}_{number}"
        taken.update(_possible_files(names[i], images[i]))
    return names
