"""`open_volume`: the reader of a file by its suffix."""

from __future__ import annotations

from pathlib import Path

from cells.readers.microscopes import OPENERS, open_microscope_file
from cells.readers.pictures import open_picture
from cells.readers.tiff import open_tiff
from cells.readers.volume import Volume
from utils.paths import ZARR, is_zarr, printable
from utils.script import InputError

TIFF_SUFFIXES = (".tif", ".tiff", ".lsm", ".btf")
MACOS_NOTES = b"\x00\x05\x16\x07"  # how AppleDouble files, `._a.png`, begin


def open_volume(path: str | Path) -> Volume:
    """Open an image file of any kind, or a folder in OME-Zarr.

    Raises:
        InputError: the file is missing, empty, damaged, of a kind that is unknown or needs a
            package that is not installed, or promises more pixels than it can hold; or its path is
            no text.
    """
    path = Path(path)
    if printable(path) != str(path):  # OpenCV crashes on it
        raise InputError(f"{path}: the path is not in UTF-8; rename the file or its folder")
    if is_zarr(path):
        return open_microscope_file(path, ZARR)
    if not path.is_file():
        raise InputError(f"{path}: no such image file; check the path")
    if not path.stat().st_size:
        raise InputError(f"{path}: empty image file; copy it again")
    with path.open("rb") as file:
        if file.read(len(MACOS_NOTES)) == MACOS_NOTES:
            raise InputError(f"{path}: not an image, only what macOS notes about one; delete it")
    suffix = path.suffix.lower()
    if suffix in OPENERS:
        return open_microscope_file(path, suffix)
    return open_tiff(path) if suffix in TIFF_SUFFIXES else open_picture(path)
