"""Where the repository's own files are, and finding the files that a script is asked to work on."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.script import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
ZARR = ".zarr"  # of folders, not files
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp"),
    *(".tif", ".tiff", ".btf", ".lsm", ".nd2", ".czi", ".lif", ZARR),  # may hold several planes
)
ZARR_METADATA = (".zgroup", "zarr.json")  # of versions 2 and 3 of the format

# relative to the repository
PUBLISHED_MODELS = [f"models/pretrained_models/pseudo_round{i}_model.pth" for i in (1, 2)]
PUBLISHED_SECOND_LEVEL = "2nd_level_model/published_catboost.pkl"
BUNDLED_MODELS = ["models/demo_model_1.pth", "models/demo_model_2.pth"]
BUNDLED_SECOND_LEVEL = "2nd_level_model/catboost.pkl"
DEMO_IMAGES = ["demo_images/7ae19de7bc2a.png", "demo_images/simulated_cort.png"]


def in_repository(path: str) -> str:
    """A file of the repository, as it is found from the working directory.

    Args:
        path: relative to the repository.

    Returns:
        `path` itself where the working directory is the repository, else an absolute path.
    """
    return path if Path.cwd() == REPOSITORY else str(REPOSITORY / path)


def choose_weights(weights: Sequence[str] | None) -> list[str]:
    """Paths as given, or the published models where they are, or the bundled ones."""
    if weights is not None:
        return split_paths(weights)
    published = [in_repository(path) for path in PUBLISHED_MODELS]
    if all(Path(path).is_file() for path in published):
        return published
    print(
        "Using the small bundled demonstration models; bash download_models.sh fetches the "
        "published ones, which are then used instead (see README, 'Models')."
    )
    return [in_repository(path) for path in BUNDLED_MODELS]


def demo_image() -> str:
    """The image that is segmented where none is given: a published one where it is there.

    Raises:
        InputError: the repository's demo images were removed.
    """
    for path in map(in_repository, DEMO_IMAGES):
        if Path(path).is_file():
            return path
    raise InputError("demo_images: no image is left there; give --image")


def check_weights_exist(paths: Sequence[str]) -> None:
    """Look for checkpoints before the long work starts.

    Raises:
        InputError: one is missing.
    """
    published = [in_repository(path) for path in PUBLISHED_MODELS]
    for path in paths:
        if not Path(path).is_file():
            remedy = "check the path"
            if path in published:
                remedy = "bash download_models.sh fetches it, or name your own models"
            raise InputError(f"{path}: no such checkpoint file; {remedy}")


def split_paths(entries: Sequence[str]) -> list[str]:
    """Paths given as several arguments, or as one string separated by white space, or both.

    Words that together are the path of a file which is there stay together, the most possible.
    """
    return [path for entry in entries for path in _split(entry)]


def _split(entry: str) -> Iterator[str]:
    words = list(re.finditer(r"\S+", entry))
    first = 0
    while first < len(words):
        spans = [entry[words[first].start() : word.end()] for word in words[first:]]
        count = next((n for n in range(len(spans), 1, -1) if Path(spans[n - 1]).is_file()), 1)
        yield spans[count - 1]
        first += count


@dataclass(frozen=True)
class ImageFile:
    """An image file that was found.

    Attributes:
        path: where it is.
        relative: the same as text, relative to the folder that was listed.
        part: which of the images in the file, as names end with it; empty for the only one.
    """

    path: Path
    relative: Path
    part: str = ""

    @property
    def stem(self) -> str:
        """Name of the image without folders and suffix, as text."""
        return printable(self.path.stem) + self.part


def list_images(patterns: Sequence[str], flag: str = "--image") -> list[Path]:
    """Paths of `find_images`, without the folders in folders."""
    return [image.path for image in find_images(patterns, flag=flag)]


def find_images(
    patterns: Sequence[str],
    recursive: bool = False,
    leave_out: Collection[Path] = (),
    flag: str = "--image",
) -> list[ImageFile]:
    """Files, folders and glob patterns to image files, in natural order (2 before 10).

    A file that is named explicitly is listed whatever its suffix; hidden files are not images. A
    folder in OME-Zarr is an image, and what is in it is not listed.

    Args:
        patterns: what was given.
        recursive: also the folders within folders.
        leave_out: resolved paths of files and folders that are not listed, with all that is in
            them.
        flag: the option's name, for messages.

    Raises:
        InputError: a name that is neither a file nor a folder nor a pattern that matches, or a
            folder without images.
    """
    images: dict[Path, ImageFile] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_file() or is_zarr(path):
            images.setdefault(path.absolute(), ImageFile(path, Path(printable(path.name))))
            continue
        root = listed_folder(pattern)
        paths = [p for p in _candidates(pattern, recursive) if _is_image(p, leave_out)]
        if not paths:
            kind = "holds no image" if path.is_dir() else "no such file or folder"
            raise InputError(f"{flag} {pattern}: {kind}; give {', '.join(IMAGE_SUFFIXES)} files")
        for found in sorted(paths, key=_natural_key):
            relative = Path(printable(found.relative_to(root)))
            images.setdefault(found.absolute(), ImageFile(found, relative))
    return list(images.values())


def printable(path: str | Path) -> str:
    """A path as text; of a name that is no UTF-8, what is none becomes a replacement character."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:  # the name of no file
        encoded = str(path).encode("utf-8", errors="replace")
    return encoded.decode("utf-8", errors="replace")


def macos_notes(patterns: Sequence[str], recursive: bool = False) -> list[Path]:
    """Files such as `._a.png`, which macOS leaves beside images on other systems' disks.

    `find_images` takes no hidden file out of a folder; these look like images to a user.
    """
    return [
        path
        for pattern in patterns
        for path in _candidates(pattern, recursive)
        if path.name.startswith("._") and path.suffix.lower() in IMAGE_SUFFIXES
    ]


def _candidates(pattern: str, recursive: bool) -> Iterable[Path]:
    folder = Path(pattern)
    if not folder.is_dir():
        return map(Path, glob.glob(pattern, recursive=True))
    return folder.rglob("*") if recursive else folder.iterdir()


def _is_image(path: Path, leave_out: Collection[Path]) -> bool:
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES or path.name.startswith("."):
        return False
    if any(parent.suffix.lower() == ZARR for parent in path.parents):
        return False
    if not (is_zarr(path) if suffix == ZARR else path.is_file()):
        return False
    place = path.parent.resolve() / path.name
    return place not in leave_out and not any(p in leave_out for p in place.parents)


def is_zarr(path: Path) -> bool:
    """Whether the path is that of a folder in Zarr."""
    return any((path / name).is_file() for name in ZARR_METADATA)


def listed_folder(pattern: str) -> Path:
    """The folder itself, or the folders of a pattern before the first one with a wildcard."""
    if Path(pattern).is_dir():
        return Path(pattern)
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


def _natural_key(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
