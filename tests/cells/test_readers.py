"""Axes, channels, pixel sizes and windows of image files."""

from __future__ import annotations

import os
import re
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from cells.readers.open_file import open_volume
from cells.readers.tiff_metadata import pixel_size, square
from cells.readers.volume import Window, array_reader, check_size
from utils.script import InputError

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (3, 2, 90, 130), np.uint16)  # Z or T, C, Y, X


def whole(volume, **index):
    return volume.read(index, Window(0, volume.shape[0], 0, volume.shape[1]))


def test_imagej_hyperstack(tmp_path):
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZCYX", "unit": "um"}
    tifffile.imwrite(path, STACK, imagej=True, resolution=(1 / 0.65, 1 / 0.65), metadata=metadata)
    volume = open_volume(path)
    assert dict(volume.sizes) == {"Z": 3, "C": 2}
    assert volume.shape == (90, 130)
    assert volume.dtype == np.uint16
    assert volume.pixel_size == pytest.approx(0.65, rel=1e-3)
    assert volume.describe_axes() == "Z=3 C=2 Y=90 X=130"
    np.testing.assert_array_equal(whole(volume, Z=2, C=1), STACK[2, 1])


@pytest.mark.parametrize("unit, factor", [("µm", 1), ("nm", 1e-3), ("mm", 1e3)])
def test_ome(tmp_path, unit, factor):
    path = tmp_path / "a.ome.tif"
    metadata = {
        "axes": "TCYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": unit,
        "Channel": {"Name": ["DAPI", "phase"]},
    }
    tifffile.imwrite(path, STACK, metadata=metadata)
    volume = open_volume(path)
    assert dict(volume.sizes) == {"T": 3, "C": 2}
    assert volume.channel_names == ("DAPI", "phase")
    assert volume.pixel_size == pytest.approx(0.5 * factor)
    np.testing.assert_array_equal(whole(volume, T=1, C=0), STACK[1, 0])


@pytest.mark.parametrize(
    ("unit", "micrometres"),
    [
        *(("nm", 0.001), ("um", 1), ("\u00b5m", 1), ("\u03bcm", 1), ("\\u00B5m", 1), ("micron", 1)),
        *((" Microns ", 1), ("mm", 1000), ("cm", 10000), ("m", 1e6), ("pixel", None), ("", None)),
    ],
)
def test_units_of_imagej(unit, micrometres):
    tags = {name: SimpleNamespace(value=(4, 1)) for name in ("XResolution", "YResolution")}
    tif = SimpleNamespace(
        is_ome=False,
        is_imagej=True,
        imagej_metadata={"unit": unit},
        pages=SimpleNamespace(first=SimpleNamespace(tags=tags)),
    )
    expected = None if micrometres is None else pytest.approx(micrometres / 4)
    assert pixel_size(tif, None) == expected
    for tag in ({}, {"XResolution": tags["XResolution"]}):
        tif.pages.first.tags = tag
        assert pixel_size(tif, None) is None
    tif.pages.first.tags = dict.fromkeys(tags, SimpleNamespace(value=(0, 1)))
    assert pixel_size(tif, None) is None


def test_zeiss_says_metres():
    tif = SimpleNamespace(is_ome=False, is_imagej=False, is_lsm=True)
    tif.lsm_metadata = {"VoxelSizeX": 6.5e-7, "VoxelSizeY": 6.5e-7}
    assert pixel_size(tif, None) == pytest.approx(0.65)
    tif.lsm_metadata = {"VoxelSizeX": 6.5e-7}
    assert pixel_size(tif, None) is None


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.5, 0.5, 0.5),
        (1, 1.0099, 1.00494),
        (1, 1.011, None),
        (1, 0.989, None),
        (1, 0, None),
        (-1, -1, None),
        (float("nan"), 1, None),
        (float("inf"), float("inf"), None),
    ],
)
def test_pixels_are_square_to_a_hundredth(x, y, expected):
    assert square(x, y) == (expected if expected is None else pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a", " b "], ("a", "b")), (["a", ""], ()), (["a"], ()), (None, ()), (["a", "b", "c"], ())],
)
def test_channels_have_names_where_each_has_one(tmp_path, names, expected):
    path = tmp_path / "a.tif"
    metadata = {"axes": "CYX"} if names is None else {"axes": "CYX", "Labels": names}
    tifffile.imwrite(path, STACK[0], imagej=True, metadata=metadata)
    assert open_volume(path).channel_names == expected


def test_a_bare_resolution_and_pixels_that_are_not_square_are_no_pixel_size(tmp_path):
    plain = STACK[0, 0]
    tifffile.imwrite(tmp_path / "a.tif", plain, resolution=(72, 72), resolutionunit="inch")
    tifffile.imwrite(
        tmp_path / "b.tif", plain, imagej=True, resolution=(1, 2), metadata={"unit": "um"}
    )
    assert open_volume(tmp_path / "a.tif").pixel_size is None
    assert open_volume(tmp_path / "b.tif").pixel_size is None


LAYOUTS = {
    "one block": {},
    "tiles": {"tile": (32, 48), "compression": "zlib"},
    "strips": {"rowsperstrip": 16, "compression": "zlib", "predictor": True},
    "LZW": {"compression": "lzw"},
    "big endian": {"byteorder": ">"},
    "big endian strips": {"byteorder": ">", "rowsperstrip": 7},
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_windows_equal_the_whole(tmp_path, name, photometric):
    path = tmp_path / "a.tif"
    if photometric == "rgb":
        data = np.moveaxis(np.stack([STACK[0, 0], STACK[1, 0], STACK[2, 0]]), 0, 2)
        tifffile.imwrite(path, data, photometric="rgb", **LAYOUTS[name])
        volume = open_volume(path)
        assert volume.colour and not volume.sizes
        planes = [({}, data)]
    else:
        metadata = {"axes": "ZCYX"}
        tifffile.imwrite(path, STACK, photometric="minisblack", metadata=metadata, **LAYOUTS[name])
        volume = open_volume(path)
        planes = [({"Z": z, "C": c}, STACK[z, c]) for z in range(3) for c in range(2)]
    for index, plane in planes:
        for window in (Window(0, 90, 0, 130), Window(5, 6, 129, 130), Window(20, 77, 31, 100)):
            found = volume.read(index, window)
            np.testing.assert_array_equal(found, plane[window.slices])
            assert found.dtype == np.uint16 and found.dtype.isnative


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planar_colours(tmp_path, compression):
    data = STACK[:, 0].astype(np.uint8)
    path = tmp_path / "a.tif"
    options = {"rowsperstrip": 20} if compression else {}
    tifffile.imwrite(
        path, data, photometric="rgb", planarconfig="separate", compression=compression, **options
    )
    volume = open_volume(path)
    assert volume.colour and not volume.sizes
    np.testing.assert_array_equal(whole(volume), np.moveaxis(data, 0, 2))
    np.testing.assert_array_equal(
        volume.read({}, Window(30, 70, 9, 20)), np.moveaxis(data, 0, 2)[30:70, 9:20]
    )


def test_16_bit_alpha_is_dropped(tmp_path):
    rgba = RNG.integers(0, 60000, (40, 50, 4), np.uint16)
    rgba[:, :, 3] = 65535
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    cv2.imwrite(str(tmp_path / "a.png"), rgba[:, :, [2, 1, 0, 3]])
    grey = np.ascontiguousarray(rgba[:, :, [0, 3]])
    tifffile.imwrite(
        tmp_path / "g.tif",
        grey,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    for name in ("a.tif", "a.png"):
        np.testing.assert_array_equal(whole(open_volume(tmp_path / name)), rgba[:, :, :3])
    volume = open_volume(tmp_path / "g.tif")
    assert not volume.sizes
    np.testing.assert_array_equal(whole(volume), grey[:, :, 0])


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (2, {"planarconfig": "contig"}),
        (3, {"planarconfig": "contig", "extrasamples": ["unspecified", "unassalpha"]}),
        (2, {"planarconfig": "separate"}),
    ],
)
def test_samples_that_are_no_colours_are_channels(tmp_path, samples, options):
    path, data = tmp_path / "a.tif", STACK[:samples, 0]
    if options["planarconfig"] == "contig":
        data = np.moveaxis(data, 0, 2)
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    volume = open_volume(path)
    assert dict(volume.sizes) == {"C": 2} and not volume.colour
    np.testing.assert_array_equal(whole(volume, C=1), STACK[1, 0])
    np.testing.assert_array_equal(whole(volume), STACK[0, 0])


def test_of_samples_beside_channels_the_first_is_read(tmp_path):
    path = tmp_path / "a.tif"
    data = np.moveaxis(STACK, 1, 3)  # [3, 90, 130, 2]
    tifffile.imwrite(
        path,
        data,
        photometric="minisblack",
        planarconfig="contig",
        metadata={"axes": "CYXS"},
    )
    volume = open_volume(path)
    assert dict(volume.sizes) == {"C": 3}
    np.testing.assert_array_equal(whole(volume, C=2), STACK[2, 0])


def test_colours_for_print_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 8, 4), np.uint8), photometric="separated")
    with pytest.raises(InputError, match="a.tif: colours for print"):
        open_volume(tmp_path / "a.tif")


def test_white_is_zero(tmp_path):
    signed = STACK[0, 0].astype(np.int16)
    for name, data in (("a", STACK[0, 0]), ("b", STACK[0, 0] > 2000), ("c", signed)):
        tifffile.imwrite(tmp_path / f"{name}.tif", data, photometric="miniswhite")
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.tif")), 65535 - STACK[0, 0])
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "b.tif")), STACK[0, 0] <= 2000)
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "c.tif")), -signed)


def test_several_images_of_one_kind_are_positions(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for plane in STACK[:, 0]:
            tif.write(plane, metadata={"axes": "YX"})
    volume = open_volume(path)
    assert dict(volume.sizes) == {"P": 3}
    np.testing.assert_array_equal(whole(volume, P=2), STACK[2, 0])


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends after its header."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + bytes(100)


def huge_tiff(path, compression):
    """A TIFF of a few bytes whose header says 60,000 x 60,000."""
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression=compression, rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[tag].overwrite(60000)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "b.tif"])
def test_a_header_of_60000_by_60000(tmp_path, name):
    path = tmp_path / name
    if name == "a.png":
        path.write_bytes(png_header(60000, 60000))
    else:
        huge_tiff(path, "zlib" if name == "a.tif" else None)
    with pytest.raises(InputError, match=name) as error:
        open_volume(path)
    assert len(str(error.value)) < 300


def test_damaged_strips_are_named_when_they_are_read(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0, 0], compression="zlib", rowsperstrip=30)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[1]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read({}, Window(0, 30, 0, 130)), STACK[0, 0][:30])
    with pytest.raises(InputError, match="a.tif.*row 30"):
        volume.read({}, Window(29, 31, 0, 130))


@pytest.mark.parametrize(
    ("options", "damaged", "whole_part", "message"),
    [
        ({"tile": (32, 48)}, 5, Window(0, 90, 0, 96), "row 32 and column 96"),
        ({"rowsperstrip": 30, "planarconfig": "separate"}, 4, Window(0, 30, 0, 130), "row 30"),
    ],
)
def test_only_segments_that_a_window_touches_are_read(
    tmp_path, options, damaged, whole_part, message
):
    path = tmp_path / "a.tif"
    apart = "planarconfig" in options
    data = STACK[:, 0] if apart else STACK[0, 0]
    colours = "rgb" if apart else "minisblack"
    tifffile.imwrite(path, data, compression="zlib", photometric=colours, **options)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[damaged]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    volume = open_volume(path)
    expected = np.moveaxis(data, 0, 2) if apart else data
    np.testing.assert_array_equal(volume.read({}, whole_part), expected[whole_part.slices])
    with pytest.raises(InputError, match=f"a.tif: damaged at {message}"):
        whole(volume)


def test_segments_that_a_file_leaves_out_are_zero(tmp_path):
    path = tmp_path / "a.tif"
    tiles = (np.full((32, 32), i, np.uint8) if i != 2 else None for i in range(1, 7))
    tifffile.imwrite(path, tiles, shape=(60, 90), dtype=np.uint8, tile=(32, 32), compression="zlib")
    expected = np.repeat(np.repeat([[1, 0, 3], [4, 5, 6]], 32, axis=0), 32, axis=1)[:60, :90]
    np.testing.assert_array_equal(whole(open_volume(path)), expected)


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
@pytest.mark.parametrize("layout", [{"tile": (32, 48)}, {"rowsperstrip": 16}, None])
def test_jpeg_within_tiff(tmp_path, photometric, layout):
    """Pillow writes tables for all segments once, tifffile for each."""
    path = tmp_path / "a.tif"
    y, x = np.mgrid[:90, :130]
    data = (100 + 60 * np.sin(y / 9) + 50 * np.cos(x / 7)).astype(np.uint8)
    if photometric == "rgb":
        data = np.dstack([data, data // 2, 255 - data])
    if layout is None:
        Image.fromarray(data).save(path, compression="jpeg")
    else:
        tifffile.imwrite(path, data, photometric=photometric, compression="jpeg", **layout)
    with tifffile.TiffFile(path) as tif:
        assert ("JPEGTables" in tif.pages[0].tags) == (layout is None)
    volume = open_volume(path)
    np.testing.assert_array_equal(whole(volume), tifffile.imread(path))
    assert np.abs(whole(volume).astype(int) - data).mean() < 3
    window = Window(60, 90, 90, 130)
    np.testing.assert_array_equal(volume.read({}, window), tifffile.imread(path)[window.slices])


def test_few_segments_are_kept_and_the_last_ones(tmp_path, monkeypatch):
    """As many bytes as three strips have; one of those is decoded again that was kept longest."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0, 0], compression="zlib", rowsperstrip=30)
    monkeypatch.setattr("cells.readers.tiff_segments.CACHE_BYTES", 2 * 30 * 130 * 2)
    decoded = []
    original = tifffile.TiffPage.decode.func

    def counting(page):
        decode = original(page)

        def decode_and_note(data, index, **options):
            decoded.append(index)
            return decode(data, index, **options)

        return decode_and_note

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(counting))
    volume = open_volume(path)
    for row in (0, 30, 0, 60, 0, 30):
        np.testing.assert_array_equal(
            volume.read({}, Window(row, row + 9, 0, 7)), STACK[0, 0][row : row + 9, :7]
        )
    assert decoded == [0, 1, 2, 1]


def test_an_array_is_read_as_its_axes_say():
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    window = Window(1, 3, 2, 4)
    found = array_reader(array, "XSYC")({"C": 4}, window)
    np.testing.assert_array_equal(found, array[:, :, 1:3, 4].transpose(2, 0, 1)[:, 2:4])
    found = array_reader(array, "CYXT")({"C": 1}, window)
    np.testing.assert_array_equal(found, array[1, 1:3, 2:4, 0])
    assert found.flags.c_contiguous and not np.shares_memory(found, array)


@pytest.mark.parametrize(("held", "most"), [(10, 2**28), (200_000, 400_000_000)])
def test_a_file_of_some_bytes_holds_at_most_so_many(tmp_path, held, most):
    """2000 times its size, and a quarter of a gigabyte in any case."""
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(held))
    check_size(path, (3, 4), most)
    with pytest.raises(InputError, match=f"a.tif: .* promises 3 x 4 values, .* has {held} bytes"):
        check_size(path, (3, 4), most + 1)


def test_notes_of_macos(tmp_path):
    path = tmp_path / "._a.png"
    path.write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")
    with pytest.raises(InputError, match="macOS"):
        open_volume(path)
    path.rename(tmp_path / "._a.tif")
    with pytest.raises(InputError, match="macOS"):
        open_volume(tmp_path / "._a.tif")


def test_files_are_closed(tmp_path):
    import os

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZCYX"})
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        whole(open_volume(path), Z=1, C=1)
    assert len(os.listdir("/proc/self/fd")) <= before + 2


@pytest.mark.parametrize("change", ["checksum", "end"])
def test_damaged_png(tmp_path, change, capfd):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), STACK[0, 0])
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data if change == "checksum" else data[:2000])
    with pytest.raises(InputError, match="a.png: damaged or cut off"):
        open_volume(path)
    assert capfd.readouterr().err == ""


def test_what_stands_behind_the_end_of_a_png_does_not_matter(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), STACK[0, 0])
    content = path.read_bytes()
    path.write_bytes(content + b"more")
    np.testing.assert_array_equal(whole(open_volume(path)), STACK[0, 0])
    path.write_bytes(content[:-12])  # whole chunks, but no end
    with pytest.raises(InputError, match=f"a.png: cut off at byte {len(content) - 12}"):
        open_volume(path)
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"a.png: damaged or cut off at byte {len(content) - 12}"):
        open_volume(path)


def test_grey_with_alpha(tmp_path):
    """OpenCV gives colours for PNG, and two values a pixel for PAM."""
    grey = np.uint8(STACK[0, 0] // 16)
    both = np.dstack([grey, np.full_like(grey, 9)])
    Image.fromarray(both, "LA").save(tmp_path / "a.png")
    header = b"P7\nWIDTH 130\nHEIGHT 90\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n"
    (tmp_path / "a.pam").write_bytes(header + both.tobytes())
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.png")), np.dstack([grey] * 3))
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.pam")), grey)


def test_a_picture_of_another_kind_than_its_suffix_says(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(cv2.imencode(".bmp", np.uint8(STACK[0, 0] // 16))[1].tobytes())
    np.testing.assert_array_equal(whole(open_volume(path)), STACK[0, 0] // 16)


def test_a_tile_that_is_larger_than_the_file_can_hold(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0, 0], tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags["TileWidth"].overwrite(2**15)
        tif.pages[0].tags["TileLength"].overwrite(2**15)
    with pytest.raises(InputError, match="a.tif"):
        open_volume(path)


def test_a_table_of_strips_that_is_too_short(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0, 0], compression="zlib", rowsperstrip=10)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags["RowsPerStrip"].overwrite(3)
    with pytest.raises(InputError, match="a.tif: damaged"):
        whole(open_volume(path))


OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome_of_a_set(kind: str, own: int) -> bytes:
    """Metadata of two files, each with one position or one time point of 64 x 48 pixels."""
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in range(2)]
    sides = 'SizeX="64" SizeY="48" SizeC="1" SizeZ="1" DimensionOrder="XYCZT" Type="uint16"'
    planes = [
        f'<TiffData FirstT="{i if kind == "time" else 0}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{kind}{i}.ome.tif">{uuids[i]}</UUID></TiffData>'
        for i in range(2)
    ]
    images = ["".join(planes)] if kind == "time" else planes
    count = 2 if kind == "time" else 1
    text = "".join(
        f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" {sides} SizeT="{count}" '
        'PhysicalSizeX="0.5" PhysicalSizeY="0.5">'
        f'<Channel ID="Channel:{i}:0" SamplesPerPixel="1"/>{data}'
        "</Pixels></Image>"
        for i, data in enumerate(images)
    )
    return f'<?xml version="1.0"?><OME xmlns="{OME}" UUID="{uuids[own]}">{text}</OME>'.encode()


@pytest.mark.parametrize("kind", ["time", "position"])
def test_each_file_of_a_set_is_an_image(tmp_path, kind):
    for i in range(2):
        path = tmp_path / f"{kind}{i}.ome.tif"
        description = ome_of_a_set(kind, i)
        data = np.full((48, 64), 100 * (i + 1), np.uint16)
        tifffile.imwrite(path, data, description=description, metadata=None)
    for i in range(2):
        volume = open_volume(tmp_path / f"{kind}{i}.ome.tif")
        assert not volume.sizes
        assert (whole(volume) == 100 * (i + 1)).all()
        assert volume.pixel_size == 0.5


def test_a_position_of_a_set_keeps_its_channels(tmp_path):
    """As Micro-Manager writes them: every file tells of all positions."""
    for own in range(2):
        with tifffile.TiffWriter(tmp_path / f"p{own}.ome.tif", ome=True) as file:
            data = np.full((2, 48, 64), 100 * own, np.uint16)
            data[1] += 7
            metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "phase"]}}
            file.write(data, metadata=metadata, photometric="minisblack")
        alone = tifffile.TiffFile(tmp_path / f"p{own}.ome.tif").ome_metadata
        image = re.search("<Image.*</Image>", alone, re.DOTALL)[0]
        uuid = re.search('UUID="([^"]*)"', alone)[1]

        def named(name: str, uuid: str, image: str = image) -> str:
            inner = f'><UUID FileName="{name}">{uuid}</UUID></TiffData>'
            return re.sub("(<TiffData[^/]*)/>", rf"\1{inner}", image)

        images = [named(f"p{own}.ome.tif", uuid), named(f"p{1 - own}.ome.tif", "urn:uuid:other")]
        together = alone.replace(image, "".join(images if own == 0 else images[::-1]))
        tifffile.tiffcomment(tmp_path / f"p{own}.ome.tif", together.encode())
        volume = open_volume(tmp_path / f"p{own}.ome.tif")
        assert (dict(volume.sizes), volume.channel_names) == ({"C": 2}, ("DAPI", "phase"))
        assert (whole(volume, C=1) == 100 * own + 7).all()


def test_pixel_size_and_channels_are_those_of_the_image_that_is_read(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for side, size, names in ((20, 10.0, ["x", "y"]), (60, 0.5, ["DAPI", "phase"])):
            metadata = {"axes": "CYX", "PhysicalSizeX": size, "PhysicalSizeY": size}
            metadata["Channel"] = {"Name": names}
            data = np.zeros((2, side, side), np.uint16)
            file.write(data, metadata=metadata, photometric="minisblack")
    volume = open_volume(tmp_path / "a.ome.tif")
    assert (volume.shape, volume.left_out) == ((60, 60), 1)
    assert volume.pixel_size == pytest.approx(0.5)
    assert volume.channel_names == ("DAPI", "phase")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_paths_that_are_no_text(tmp_path, suffix):
    path = tmp_path / os.fsdecode(b"Zelle_\xe4" + suffix.encode())
    path.write_bytes(b"something")
    with pytest.raises(InputError, match="not in UTF-8"):
        open_volume(path)
    with pytest.raises(InputError):
        open_volume("\ud800.png")  # what no file can be called
