"""Folders in OME-Zarr, written by the package that reads them."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from cells.planes import PlaneChoice, choose_planes
from cells.readers.open_file import open_volume
from cells.readers.volume import Window
from utils.files import sha256
from utils.paths import find_images
from utils.script import InputError

STACK = np.random.default_rng(0).integers(0, 4000, (3, 2, 40, 50), np.uint16)  # T, C
WINDOW = Window(3, 31, 7, 50)
AXES = [
    {"name": "t", "type": "time"},
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
CHANNELS = {"channels": [{"label": "DAPI"}, {"label": "phase"}]}


def metadata(axes: list = AXES, scale: tuple = (1.0, 1.0, 0.65, 0.65)) -> dict:
    """Of an image with a second level, half as fine."""
    levels = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [s * 2**level for s in scale]}
            ],
        }
        for level in range(2)
    ]
    return {"multiscales": [{"axes": axes, "datasets": levels}], "omero": CHANNELS}


def write_image(group, stack: np.ndarray, described: dict) -> None:
    for level, array in enumerate((stack, stack[..., ::2, ::2])):
        chunks = (*(1,) * (stack.ndim - 2), 16, 16)
        stored = group.create_array(str(level), shape=array.shape, dtype=array.dtype, chunks=chunks)
        stored[...] = array
    group.attrs.update(described)


@pytest.fixture
def zarr():
    return pytest.importorskip("zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_values_channels_and_pixel_size(tmp_path, zarr, version):
    path = tmp_path / "a.ome.zarr"
    new = version == "0.5"
    group = zarr.open_group(path, mode="w", zarr_format=3 if new else 2)
    write_image(group, STACK, {"ome": metadata()} if new else metadata())

    volume = open_volume(path)

    assert dict(volume.sizes) == {"T": 3, "C": 2}
    assert (volume.shape, volume.dtype, volume.left_out) == ((40, 50), np.uint16, 0)
    assert volume.channel_names == ("DAPI", "phase")
    assert volume.pixel_size == pytest.approx(0.65)
    found = volume.read({"T": 2, "C": 1}, WINDOW)
    np.testing.assert_array_equal(found, STACK[2, 1][WINDOW.slices])


def test_early_versions_do_not_describe_axes(tmp_path, zarr):
    for name, axes in (("a.zarr", None), ("b.zarr", ["t", "c", "z", "y", "x"])):
        group = zarr.open_group(tmp_path / name, mode="w", zarr_format=2)
        multiscale = {"datasets": [{"path": "0"}, {"path": "1"}]} | ({"axes": axes} if axes else {})
        write_image(group, STACK[:, :, None], {"multiscales": [multiscale]})

        volume = open_volume(tmp_path / name)

        assert dict(volume.sizes) == {"T": 3, "C": 2}
        assert (volume.pixel_size, volume.channel_names) == (None, ())
        found = volume.read({"T": 1, "C": 0}, WINDOW)
        np.testing.assert_array_equal(found, STACK[1, 0][WINDOW.slices])


def test_units_and_scales_of_all_levels(tmp_path, zarr):
    axes = [{"name": "y", "unit": "nanometer"}, {"name": "x", "unit": "nanometer"}]
    described = metadata(axes, (2.0, 2.0))
    common = [{"type": "scale", "scale": [162.5, 162.5]}]
    described["multiscales"][0]["coordinateTransformations"] = common
    write_image(zarr.open_group(tmp_path / "a.zarr", mode="w"), STACK[0, 0], {"ome": described})

    assert open_volume(tmp_path / "a.zarr").pixel_size == pytest.approx(0.325)


def test_fields_of_a_plate_are_positions(tmp_path, zarr):
    path = tmp_path / "plate.zarr"
    plate = zarr.open_group(path, mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    for number, well in enumerate(("A/1", "B/2")):
        group = plate.create_group(well)
        group.attrs["well"] = {"images": [{"path": "0"}]}
        write_image(group.create_group("0"), STACK[number], metadata(AXES[1:], (1, 0.65, 0.65)))

    volume = open_volume(path)

    assert dict(volume.sizes) == {"P": 2, "C": 2}
    found = volume.read({"P": 1, "C": 1}, WINDOW)
    np.testing.assert_array_equal(found, STACK[1, 1][WINDOW.slices])
    with pytest.raises(InputError, match="--every_plane"):
        choose_planes(volume, PlaneChoice(channel="phase"))
    well = open_volume(path / "B/2/0")  # named explicitly
    np.testing.assert_array_equal(well.read({"C": 1}, WINDOW), found)


def test_the_images_of_a_converter(tmp_path, zarr):
    """bioformats2raw writes numbered images; the largest and those like it are read."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for number, stack in enumerate((STACK[0, :, ::2], STACK[1], STACK[2])):
        write_image(group.create_group(str(number)), stack, metadata(AXES[1:], (1.0, 0.65, 0.65)))

    volume = open_volume(tmp_path / "a.zarr")

    assert (dict(volume.sizes), volume.left_out) == ({"P": 2, "C": 2}, 1)
    found = volume.read({"P": 1, "C": 0}, WINDOW)
    np.testing.assert_array_equal(found, STACK[2, 0][WINDOW.slices])


def test_folders_without_an_image(tmp_path, zarr):
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with pytest.raises(InputError, match="no OME-Zarr image"):
        open_volume(tmp_path / "empty.zarr")
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="zarr cannot read it"):
        open_volume(tmp_path / "broken.zarr")


def test_damaged_chunks(tmp_path, zarr):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    write_image(group, STACK, metadata())
    for chunk in (tmp_path / "a.zarr" / "0").glob("[0-9]*"):
        chunk.write_bytes(b"something")
    with pytest.raises(InputError, match="damaged chunk"):
        open_volume(tmp_path / "a.zarr").read({"T": 0, "C": 0}, WINDOW)


def fake_zarr(path):
    """A folder that is told from others; nothing but what names it is in it."""
    path.mkdir(parents=True)
    (path / ".zgroup").write_text("{}")
    return path


def test_one_line_tells_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match="pip install zarr"):
        open_volume(fake_zarr(tmp_path / "a.zarr"))


def test_the_package_s_interface(tmp_path, monkeypatch):
    """Where it is not installed."""

    class Group(dict):
        def __init__(self, attributes, members):
            super().__init__(members)
            self.attrs = ModuleType("attributes")
            self.attrs.asdict = lambda: attributes

    package = ModuleType("zarr")
    package.open_group = lambda path, mode: Group(metadata(), {"0": STACK})
    monkeypatch.setitem(sys.modules, "zarr", package)
    volume = open_volume(fake_zarr(tmp_path / "a.zarr"))
    found = volume.read({"T": 2, "C": 1}, WINDOW)
    np.testing.assert_array_equal(found, STACK[2, 1][WINDOW.slices])
    assert volume.channel_names == ("DAPI", "phase")


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_is_one_image_in_a_list(tmp_path, recursive):
    """What lies in it, and other folders of that name, are none."""
    inside = fake_zarr(tmp_path / "a.zarr")
    (inside / "0.png").touch()
    (tmp_path / "b.png").touch()
    (tmp_path / "c.zarr").mkdir()
    listed = find_images([str(tmp_path)], recursive)
    assert [image.path.name for image in listed] == ["a.zarr", "b.png"]
    assert [image.stem for image in find_images([str(inside)])] == ["a"]
    assert len(find_images([f"{tmp_path}/**"])) == 2


def test_its_hash_is_that_of_all_chunks(tmp_path):
    folder = fake_zarr(tmp_path / "a.zarr")
    (folder / "0").mkdir()
    (folder / "0" / "0.0").write_bytes(b"one")
    before = sha256(folder)
    (folder / "0" / "0.0").write_bytes(b"two")
    assert sha256(folder) != before
