"""Where the repository's own files are, and finding the files that a script is asked to work on."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.script import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

# relative to the repository
PUBLISHED_MODELS = [f"models/pretrained_models/pseudo_round{i}_model.pth" for i in (1, 2)]
PUBLISHED_SECOND_LEVEL = "2nd_level_model/published_catboost.pkl"
BUNDLED_MODELS = ["models/demo_model_1.pth", "models/demo_model_2.pth"]
BUNDLED_SECOND_LEVEL = "2nd_level_model/catboost.pkl"
DEMO_IMAGES = ["demo_images/7ae19de7bc2a.png", "demo_images/simulated_shsy5y.png"]


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


def default_second_level(weights: Sequence[str]) -> str | None:
    """The 2nd-level model that belongs to the models that are used by default, where it is there.

    It knows the mistakes of the models that it was trained with, not those of others.
    """
    for models, second_level in (
        (PUBLISHED_MODELS, PUBLISHED_SECOND_LEVEL),
        (BUNDLED_MODELS, BUNDLED_SECOND_LEVEL),
    ):
        if list(weights) == [in_repository(path) for path in models]:
            path = in_repository(second_level)
            return path if Path(path).is_file() else None
    return None


def demo_image() -> str:
    """The image that is segmented where none is given: a published one where it is there.

    Raises:
        InputError: the repository's demo images were removed.
    """
    for path in map(in_repository, DEMO_IMAGES):
        if Path(path).is_file():
            return path
    raise InputError("demo_images: no image is left there; give --image")


def split_paths(entries: Sequence[str]) -> list[str]:
    """Paths given as several arguments, or as one string separated by white space, or both.

    A path that holds white space itself is kept where it exists.
    """
    return [
        path for entry in entries for path in ([entry] if Path(entry).is_file() else entry.split())
    ]


def list_images(patterns: Sequence[str], flag: str = "--image") -> list[Path]:
    """Files, folders and glob patterns to image files, in natural order (2 before 10).

    A file that is named explicitly is listed whatever its suffix. `flag` is the option's name, for
    messages.

    Raises:
        InputError: a name that is neither a file nor a folder nor a pattern that matches, or a
            folder without images.
    """
    paths = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_file():
            paths.append(path)
            continue
        found = path.iterdir() if path.is_dir() else map(Path, glob.glob(pattern, recursive=True))
        images = [p for p in found if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            kind = "holds no image" if path.is_dir() else "no such file or folder"
            raise InputError(f"{flag} {pattern}: {kind}; give {', '.join(IMAGE_SUFFIXES)} files")
        paths += sorted(images, key=_natural_key)
    return list(dict.fromkeys(paths))


def output_names(paths: Sequence[Path]) -> Iterator[str]:
    """File names for the pictures: the image's own, as PNG where its format may not hold colours.

    Images of the same name from several folders get their folder's name in front.
    """
    names = [
        path.name if path.suffix.lower() in (".png", ".jpg", ".jpeg") else f"{path.stem}.png"
        for path in paths
    ]
    for path, name in zip(paths, names, strict=True):
        yield name if names.count(name) == 1 else f"{path.resolve().parent.name}_{path.stem}.png"


def _natural_key(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
