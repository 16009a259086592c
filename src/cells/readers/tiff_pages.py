"""The list of pages of a TIFF, looked at before tifffile follows it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from utils.script import InputError

ORDERS = {b"II": "<", b"MM": ">"}
CLASSIC, BIG = 42, 43


def check_page_list(path: Path) -> None:
    """Refuse a file whose list of pages leads back to an earlier page.

    Each page tells where the next one is. tifffile notices a circle at the 100th page only, and
    where that is not where the circle starts, it follows it for hours. What else may be wrong with
    the file is left to tifffile.

    Raises:
        InputError: the list runs in a circle.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        seen = set()
        try:
            layout, offset = _header(file)
            while offset and offset not in seen:
                seen.add(offset)
                offset = _next_page(file, layout, offset)
        except (struct.error, ValueError, OverflowError, OSError):  # ends early, or is no TIFF
            return
    if offset:
        raise InputError(
            f"{path}: damaged, page {len(seen)} of its list leads back to an earlier one; save it "
            "again as TIFF or PNG with the program that made it"
        )


def _header(file: BinaryIO) -> tuple[tuple[str, str, int], int]:
    """Formats of a number of tags and of an offset, bytes of a tag; and the first page's offset."""
    start = file.read(4)
    order = ORDERS.get(start[:2])
    if order is None:
        raise ValueError("no TIFF")
    (version,) = struct.unpack(f"{order}H", start[2:])
    if version == BIG:
        file.seek(8)
        layout = (f"{order}Q", f"{order}Q", 20)
    elif version == CLASSIC:
        layout = (f"{order}H", f"{order}I", 12)
    else:
        raise ValueError("no TIFF")
    return layout, _number(file, layout[1])


def _next_page(file: BinaryIO, layout: tuple[str, str, int], offset: int) -> int:
    """Offset of the page behind the one at `offset`, 0 behind the last one."""
    count_format, offset_format, tag_bytes = layout
    file.seek(offset)
    count = _number(file, count_format)
    file.seek(count * tag_bytes, 1)
    return _number(file, offset_format)


def _number(file: BinaryIO, kind: str) -> int:
    (value,) = struct.unpack(kind, file.read(struct.calcsize(kind)))
    return value
