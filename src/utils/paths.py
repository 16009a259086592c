"""Finding the files that a script is asked to work on."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.script import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

PUBLISHED_MODELS = [f"models/pretrained_models/pseudo_round{i}_model.pth" for i in (1, 2)]


def split_paths(entries: Sequence[str]) -> list[str]:
    """Paths given as several arguments, or as one string separated by white space, or both."""
    return [path for entry in entries for path in entry.split()]


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
