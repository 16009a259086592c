"""Lists of pages that run in a circle, and those that only look odd."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from fuzzing.structures import circular_tiff

from cells.label_images import read_labels
from cells.readers.open_file import open_volume
from cells.readers.tiff_pages import check_page_list
from utils.script import InputError

IMAGE = np.arange(80, dtype=np.uint8).reshape(8, 10)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("pages", "back_to"), [(1, 0), (3, 0), (3, 2), (150, 120)])
def test_pages_in_a_circle(tmp_path, pages, back_to, big):
    path = tmp_path / "a.tif"
    path.write_bytes(circular_tiff(IMAGE, pages, back_to, big))
    for read in (open_volume, lambda path: read_labels(path, IMAGE.shape)):
        with pytest.raises(InputError, match=f"a.tif: damaged, page {pages} of its list"):
            read(path)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_pages_in_a_row(tmp_path, options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.stack([IMAGE] * 120), metadata=None, photometric="minisblack", **options
    )
    check_page_list(path)
    assert sum(open_volume(path).sizes.values()) == 120


def test_each_kind_of_list_is_followed(tmp_path):
    """In both byte orders, a circle is seen where the last page is."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=">") as writer:
        for _ in range(3):
            writer.write(IMAGE, contiguous=False, metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        last = tif.pages[-1].offset
    place = last + 2 + 12 * int.from_bytes(content[last : last + 2], "big")
    assert content[place : place + 4] == bytes(4)
    content[place : place + 4] = content[4:8]
    path.write_bytes(content)
    with pytest.raises(InputError, match="page 3"):
        check_page_list(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"II",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II+\0\x08\0\0\0" + b"\xff" * 16,
        b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 16,
        b"\x89PNG" + bytes(100),
    ],
)
def test_other_damage_is_left_to_the_reader(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    check_page_list(path)
    with pytest.raises(InputError, match="a.tif"):
        open_volume(path)
