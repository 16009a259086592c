"""Whether a file is what its name says, without loading it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from PIL import Image


def find_damage(path: Path) -> str | None:
    """What is wrong with a .zip, .pth, .pkl, .png or .csv file; None if nothing is."""
    try:
        if _head(path).lstrip().lower().startswith((b"<!doctype html", b"<html")):
            return "a web page instead of the file"
        CHECKS[path.suffix](path)
    except Exception as error:  # a damaged file can fail in any way
        return f"damaged or of another kind: {error or type(error).__name__}"
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")


def _check_pickle(path: Path) -> None:
    if not re.match(rb"\x80[\x02-\x05]", _head(path)):  # protocol
        raise ValueError("not a pickle")


def _check_checkpoint(path: Path) -> None:
    """Torch's checkpoints are archives; those from before version 1.6 are pickles."""
    check = _check_archive if _head(path).startswith(b"PK") else _check_pickle
    check(path)


def _check_image(path: Path) -> None:
    with Image.open(path, formats=["PNG"]) as image:
        image.load()


def _check_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.strip() or "\0" in text:
        raise ValueError("not text")


CHECKS = {
    ".zip": _check_archive,
    ".pth": _check_checkpoint,
    ".pkl": _check_pickle,
    ".png": _check_image,
    ".csv": _check_text,
}
