"""Files of microscope makers, written byte by byte as their formats ask."""

from __future__ import annotations

import struct
import sys
from collections import namedtuple
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from cells.readers import microscopes
from cells.readers.open_file import open_volume
from cells.readers.volume import Window
from utils.script import InputError

STACK = np.random.default_rng(0).integers(0, 4000, (3, 2, 40, 50), np.uint16)  # T, C
WINDOW = Window(3, 31, 7, 50)


def segment(name: str, data: bytes) -> bytes:
    """One segment of a CZI file."""
    return struct.pack("<16sqq", name.encode(), len(data), len(data)) + data


def write_czi(path, stack: np.ndarray) -> None:
    """Uncompressed 16-bit sub-blocks of one plane each, with a directory and metadata."""
    xml = (
        b"<ImageDocument><Metadata><Information><Image><Dimensions><Channels>"
        b'<Channel Name="DAPI"/><Channel Name="phase"/>'
        b"</Channels></Dimensions></Image></Information><Scaling><Items>"
        b'<Distance Id="X"><Value>6.5e-07</Value></Distance>'
        b'<Distance Id="Y"><Value>6.5e-07</Value></Distance>'
        b"</Items></Scaling></Metadata></ImageDocument>"
    )
    position = 32 + 512
    body, entries = b"", []
    for (t, c), plane in zip(np.ndindex(stack.shape[:2]), stack.reshape(-1, 40, 50), strict=True):
        dimensions = (("X", 0, 50), ("Y", 0, 40), ("C", c, 1), ("T", t, 1))
        entry = struct.pack("<2siqiiBB4si", b"DV", 1, position + len(body), 0, 0, 0, 0, b"", 4)
        for axis, start, size in dimensions:
            entry += struct.pack("<4siifi", axis.encode(), start, size, 0.0, size)
        entries.append(entry)
        data = struct.pack("<iiq", 0, 0, plane.nbytes) + entry
        data += bytes(max(240 - len(entry), 0)) + plane.tobytes()
        body += segment("ZISRAWSUBBLOCK", data)
    directory_at = position + len(body)
    directory = struct.pack("<i124x", len(entries)) + b"".join(entries)
    body += segment("ZISRAWDIRECTORY", directory)
    metadata_at = position + len(body)
    body += segment("ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
    head = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, directory_at, metadata_at, 0, 0)
    path.write_bytes(segment("ZISRAWFILE", head + bytes(512 - len(head))) + body)


def write_lif(path, stack: np.ndarray) -> None:
    """One image whose channels lie behind each other in every frame."""
    channels = "".join(
        '<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" LUTName="Gray" Unit="" '
        'NameOfMeasuredQuantity="" Min="0" Max="65535" IsLUTInverted="0" BitInc="0" '
        f'BytesInc="{4000 * c}"/>'
        for c in range(2)
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{number}" NumberOfElements="{size}" Origin="0" '
        f'Length="{length}" Unit="m" BitInc="0" BytesInc="{step}"/>'
        for number, size, length, step in (
            (1, 50, 49 * 6.5e-7, 2),
            (2, 40, 39 * 6.5e-7, 100),
            (4, 3, 2.0, 8000),  # X, Y, T
        )
    )
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Data/><Children>'
        '<Element Name="image"><Data><Image><ImageDescription>'
        f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions>"
        "</ImageDescription></Image></Data>"
        f'<Memory Size="{stack.nbytes}" MemoryBlockID="MemBlock_1"/><Children/></Element>'
        "</Children></Element></LMSDataContainerHeader>"
    )

    def text(value: str) -> bytes:
        return struct.pack("<BI", 0x2A, len(value)) + value.encode("utf-16-le")

    head = text(xml)
    block = struct.pack("<BQ", 0x2A, stack.nbytes) + text("MemBlock_1")
    path.write_bytes(
        struct.pack("<II", 0x70, len(head))
        + head
        + struct.pack("<II", 0x70, len(block))
        + block
        + stack.tobytes()
    )


@pytest.mark.parametrize(
    ("suffix", "package", "write"),
    [(".czi", "czifile", write_czi), (".lif", "liffile", write_lif)],
)
def test_axes_values_and_pixel_size(tmp_path, suffix, package, write):
    pytest.importorskip(package)
    path = tmp_path / f"a{suffix}"
    write(path, STACK)
    volume = open_volume(path)
    assert dict(volume.sizes) == {"T": 3, "C": 2}
    assert volume.shape == (40, 50)
    assert volume.dtype == np.uint16
    assert volume.pixel_size == pytest.approx(0.65, rel=1e-3)
    if suffix == ".czi":
        assert volume.channel_names == ("DAPI", "phase")
    found = volume.read({"T": 2, "C": 1}, WINDOW)
    np.testing.assert_array_equal(found, STACK[2, 1][WINDOW.slices])


@pytest.mark.parametrize(
    ("suffix", "package"), [(".czi", "czifile"), (".lif", "liffile"), (".nd2", "nd2")]
)
def test_damaged_files(tmp_path, suffix, package):
    pytest.importorskip(package)
    (tmp_path / f"a{suffix}").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(InputError, match=f"a{suffix}"):
        open_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("suffix", "package"), [(".czi", "czifile"), (".lif", "liffile"), (".nd2", "nd2")]
)
def test_one_line_tells_what_to_install(tmp_path, suffix, package, monkeypatch):
    (tmp_path / f"a{suffix}").write_bytes(b"something")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"pip install {package}"):
        open_volume(tmp_path / f"a{suffix}")


class Image:
    """One image of Leica's package."""

    def __init__(self, array: np.ndarray, dims: str, step: float = 0.0) -> None:
        self.array, self.dtype, self.dims = array, array.dtype, tuple(dims)
        self.sizes = dict(zip(dims, array.shape, strict=True))
        self.coords = {axis: step * np.arange(self.sizes[axis]) for axis in "XY"} if step else {}

    def asarray(self, out):
        return self.array


def open_anew(path):
    """Files of the same name and size, written within a tick of the clock, look alike."""
    microscopes._open.cache_clear()
    path.write_bytes(b"something")
    return open_volume(path)


def open_lif(tmp_path, monkeypatch, images: list[Image]):
    package = ModuleType("liffile")
    package.LifFile = lambda path: SimpleNamespace(images=images, close=lambda: None)
    monkeypatch.setitem(sys.modules, "liffile", package)
    return open_anew(tmp_path / "a.lif")


def test_the_largest_image_of_lif_and_those_like_it(tmp_path, monkeypatch):
    """The package's interface only."""
    small = Image(STACK[0, 0], "YX", 1e-6)
    first, second = (Image(STACK[t], "CYX", 5e-7) for t in (1, 2))
    other_type = Image(STACK[1].astype(np.float32), "CYX", 5e-7)
    volume = open_lif(tmp_path, monkeypatch, [small, first, second, other_type])
    assert dict(volume.sizes) == {"P": 2, "C": 2}
    assert (volume.left_out, volume.channel_names) == (2, ())
    assert volume.pixel_size == pytest.approx(0.5)
    for position, stored in enumerate(STACK[1:]):
        found = volume.read({"P": position, "C": 1}, WINDOW)
        np.testing.assert_array_equal(found, stored[1][WINDOW.slices])
    volume = open_lif(tmp_path, monkeypatch, [small])
    assert (dict(volume.sizes), volume.left_out, volume.pixel_size) == ({}, 0, pytest.approx(1))
    assert open_lif(tmp_path, monkeypatch, [Image(STACK[0, 0], "YX")]).pixel_size is None


def open_czi(tmp_path, monkeypatch, array: np.ndarray, axes: str, metadata: str):
    file = SimpleNamespace(axes=axes, shape=array.shape, dtype=array.dtype)
    file.asarray = lambda max_workers: array
    file.metadata = lambda: metadata
    package = ModuleType("czifile")
    package.CziFile = lambda path: nullcontext(file)
    monkeypatch.setitem(sys.modules, "czifile", package)
    return open_anew(tmp_path / "a.czi")


def czi_metadata(x: str = "6.5e-07", names: tuple[str, ...] = ("DAPI", "phase")) -> str:
    channels = "".join(f'<Channel Name="{name}"/>' for name in names)
    return (
        "<ImageDocument><Metadata><Information><Image><Dimensions>"
        f"<Channels>{channels}</Channels></Dimensions></Image></Information><Scaling><Items>"
        f'<Distance Id="X"><Value>{x}</Value></Distance>'
        '<Distance Id="Y"><Value>6.5e-07</Value></Distance>'
        "</Items></Scaling></Metadata></ImageDocument>"
    )


def test_scenes_channels_and_samples_of_czi(tmp_path, monkeypatch):
    """The package's interface only: S is a scene there, and 0 the samples of a pixel."""
    array = STACK[:, :, None, :, :, None]  # scenes, channels, T, Y, X, samples
    volume = open_czi(tmp_path, monkeypatch, array, "SCTYX0", czi_metadata())
    assert dict(volume.sizes) == {"P": 3, "C": 2} and not volume.colour
    assert volume.channel_names == ("DAPI", "phase")
    assert volume.pixel_size == pytest.approx(0.65)
    found = volume.read({"P": 2, "C": 1}, WINDOW)
    np.testing.assert_array_equal(found, STACK[2, 1][WINDOW.slices])
    colour = np.moveaxis(STACK[:, 0], 0, 2)
    volume = open_czi(tmp_path, monkeypatch, colour, "YX0", "")
    assert volume.colour and not volume.sizes and volume.pixel_size is None
    np.testing.assert_array_equal(volume.read({}, WINDOW), colour[WINDOW.slices])


@pytest.mark.parametrize("metadata", [czi_metadata(""), czi_metadata("7e-07"), "", None])
def test_what_czi_does_not_say(tmp_path, monkeypatch, metadata):
    volume = open_czi(tmp_path, monkeypatch, STACK[0], "CYX", metadata)
    assert volume.pixel_size is None
    volume = open_czi(tmp_path, monkeypatch, STACK[0], "CYX", czi_metadata(names=("DAPI", "")))
    assert volume.channel_names == ()
    volume = open_czi(tmp_path, monkeypatch, STACK[0, 0], "YX", czi_metadata())
    assert volume.channel_names == ()


@pytest.mark.parametrize(("samples", "colour"), [(1, False), (2, False), (3, True), (4, True)])
def test_samples_of_a_pixel(tmp_path, monkeypatch, samples, colour):
    """Three are colours, a fourth is alpha; of two, the first is read."""
    array = np.random.default_rng(1).integers(0, 255, (40, 50, samples), np.uint8)
    volume = open_lif(tmp_path, monkeypatch, [Image(array, "YXS")])
    assert (volume.colour, dict(volume.sizes), volume.dtype) == (colour, {}, np.uint8)
    expected = array[WINDOW.slices][:, :, :3] if colour else array[WINDOW.slices][:, :, 0]
    np.testing.assert_array_equal(volume.read({}, WINDOW), expected)


def test_axes_without_an_image(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="a.lif: axes P X T are not those of an image"):
        open_lif(tmp_path, monkeypatch, [Image(STACK[0, 0], "XT", 0.0)])


def test_frames_of_nd2(tmp_path, monkeypatch):
    """The package's interface only: nobody but Nikon's program writes such files."""
    names = [SimpleNamespace(channel=SimpleNamespace(name=name)) for name in ("DAPI", "phase")]
    closed = []

    class ND2File:
        sizes = {"T": 3, "C": 2, "Y": 40, "X": 50}
        dtype = np.dtype(np.uint16)
        metadata = SimpleNamespace(channels=names)

        def __init__(self, path):
            pass

        def read_frame(self, number):
            return STACK[number]

        def voxel_size(self):
            return namedtuple("Voxel", "x y z")(0.65, 0.65, 1.0)

        def close(self):
            closed.append(True)

    package = ModuleType("nd2")
    package.ND2File = ND2File
    monkeypatch.setitem(sys.modules, "nd2", package)
    path = tmp_path / "a.nd2"
    path.write_bytes(b"something")
    volume = open_volume(path)
    assert dict(volume.sizes) == {"T": 3, "C": 2}
    assert volume.channel_names == ("DAPI", "phase")
    assert volume.pixel_size == pytest.approx(0.65)
    found = volume.read({"T": 2, "C": 1}, WINDOW)
    np.testing.assert_array_equal(found, STACK[2, 1][WINDOW.slices])
    del volume
    assert not closed  # it stays open for further planes, until another file is opened
    microscopes._open.cache_clear()
    assert closed


def test_a_file_is_opened_once_for_all_its_planes(tmp_path, monkeypatch):
    first = open_lif(tmp_path, monkeypatch, [Image(STACK[0], "CYX")])
    assert open_volume(tmp_path / "a.lif") is first
    (tmp_path / "a.lif").write_bytes(b"something else")
    assert open_volume(tmp_path / "a.lif") is not first
