"""Unpacking a zip archive, whatever it calls its own top folders."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from published.download_transfer import check_space
from utils.paths import IMAGE_SUFFIXES
from utils.script import InputError

IMAGE_FOLDER = "train"  # `file_name` in the solution's annotations is train/<id>.png


def unpack(archive_path: Path, folder: Path, needed: str) -> None:
    """Unpack an archive as `folder`: all of it or nothing.

    Args:
        archive_path: zip file.
        folder: must not exist; the folder that it lies in must.
        needed: glob pattern that something in `folder` has to match.

    Raises:
        InputError: an entry leads out of the folder, nothing matches, or space is short.
    """
    with zipfile.ZipFile(archive_path) as archive:
        entries = {  # archives made on Windows may have backslashes
            PurePosixPath(entry.filename.replace("\\", "/")): entry
            for entry in archive.infolist()
            if not entry.filename.endswith(("/", "\\"))
        }
        for name in entries:
            if name.is_absolute() or ".." in name.parts:
                raise InputError(
                    f"{archive_path}: not unpacked, because {name} in it leads out of the folder; "
                    "delete it and get the archive from elsewhere"
                )
        names = [name for name in entries if not is_rubbish(name)]
        check_space(folder, sum(entries[name].file_size for name in names))
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            unpacked = Path(scratch, folder.name)
            unpacked.mkdir()
            places = list(zip(names, arrange(names), strict=True))
            for name, place in tqdm(places, desc=f"{folder}", leave=False, disable=None):
                entries[name].filename = str(place)
                archive.extract(entries[name], unpacked)
            if not any(unpacked.glob(needed)):
                raise InputError(
                    f"{archive_path}: holds no {needed}; unpack it by hand, so that there is "
                    f"{folder / needed}"
                )
            unpacked.rename(folder)
    print(f"{folder}: unpacked, {len(names)} files; {archive_path} may be deleted")


def is_rubbish(name: PurePosixPath) -> bool:
    """What operating systems put into archives beside the files: __MACOSX, .DS_Store ..."""
    return any(part == "__MACOSX" or part.startswith(".") for part in name.parts)


def arrange(names: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Names without the top folders that hold everything; single images go to `train`."""
    top = os.path.commonprefix([name.parts[:-1] for name in names])
    if IMAGE_FOLDER in top:
        top = top[: top.index(IMAGE_FOLDER)]
    inside = [PurePosixPath(*name.parts[len(top) :]) for name in names]
    return [
        IMAGE_FOLDER / place
        if len(place.parts) == 1 and place.suffix.lower() in IMAGE_SUFFIXES
        else place
        for place in inside
    ]
