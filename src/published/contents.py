"""What downloaded files hold: checked without loading them, archives unpacked."""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from utils.files import check_space
from utils.paths import IMAGE_SUFFIXES
from utils.script import InputError

IMAGE_FOLDER = "train"  # `file_name` in the solution's annotations is train/<id>.png


def find_damage(path: Path) -> str | None:
    """What is wrong with a .zip, .pth, .pkl, .png or .csv file; None if nothing is.

    It is checked whether the file is what its name says, without loading it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
        if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            return "a web page instead of the file"
        if path.suffix == ".csv":
            _check_text(path)
        elif path.suffix == ".png":
            _check_image(path)
        # torch's checkpoints are archives; those from before version 1.6 are pickles
        elif path.suffix == ".zip" or (path.suffix == ".pth" and head.startswith(b"PK")):
            _check_archive(path)
        elif not re.match(rb"\x80[\x02-\x05]", head):  # the protocol
            raise ValueError("not a pickle")
    except Exception as error:  # a damaged file can fail in any way
        return f"damaged or of another kind: {error or type(error).__name__}"
    return None


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")


def _check_image(path: Path) -> None:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        image.load()


def _check_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.strip() or "\0" in text:
        raise ValueError("not text")


def unpack(archive_path: Path, folder: Path, needed: str) -> None:
    """Unpack a zip archive as `folder`, whatever it calls its own top folders: all or nothing.

    Args:
        archive_path: zip file.
        folder: must not exist; the folder that it lies in must.
        needed: glob pattern that something in `folder` has to match.

    Raises:
        InputError: an entry leads out of the folder, nothing matches, or space is short.
    """
    from tqdm import tqdm

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
        names = [name for name in entries if not _is_rubbish(name)]
        check_space(folder, sum(entries[name].file_size for name in names))
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            unpacked = Path(scratch, folder.name)
            unpacked.mkdir()
            places = list(zip(names, _arrange(names), strict=True))
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


def _is_rubbish(name: PurePosixPath) -> bool:
    """What operating systems put into archives beside the files: __MACOSX, .DS_Store ..."""
    return any(part == "__MACOSX" or part.startswith(".") for part in name.parts)


def _arrange(names: Sequence[PurePosixPath]) -> list[PurePosixPath]:
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
