"""Which planes of a file are segmented."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from cells.images import ImageOptions, ImageSource, find_planes, open_image, read_image
from cells.planes import PlaneChoice
from cells.projections import _sharpness
from utils.script import InputError

RNG = np.random.default_rng(0)
STACK = RNG.integers(100, 140, (4, 3, 2, 40, 50), np.uint8)  # T, Z, C


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "TZCYX"})
    return path


def images(path, **choice):
    planes = find_planes(path, PlaneChoice(**choice))
    return [open_image(ImageSource(path, plane)) for plane in planes]


def test_several_planes_without_a_choice(stack):
    with pytest.raises(InputError, match="a.tif.*T=4 Z=3 C=2 Y=40 X=50") as error:
        find_planes(stack, PlaneChoice())
    for flag in ("--frames A:B", "--z N|max|mean|focus", "--channel N|NAME", "--every_plane"):
        assert flag in str(error.value)
    with pytest.raises(InputError) as error:
        find_planes(stack, PlaneChoice(z="1", channel="0"))
    assert "--frames A:B" in str(error.value) and "--z" not in str(error.value)
    with pytest.raises(InputError):
        read_image(stack)


def test_a_stack_of_three_planes_is_no_colour_picture(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0, :, 0], photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="--z"):
        find_planes(path, PlaneChoice())
    (image,) = images(path, z="2")
    np.testing.assert_array_equal(image.pixels[:, :, 0], STACK[0, 2, 0])
    assert image.suffix == ""


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planes_that_a_program_has_labelled_as_colours(tmp_path, count, compression):
    path = tmp_path / "a.tif"
    planes = STACK[:count, 0, 0] if count == 4 else STACK[0, :, 0]
    tifffile.imwrite(path, planes, photometric="rgb", compression=compression)
    (image,) = images(path)
    assert any("--z" in note for note in image.notes)
    options = ImageOptions(PlaneChoice(z=str(count - 1)))
    chosen = open_image(ImageSource(path), options=options)
    np.testing.assert_array_equal(chosen.pixels[:, :, 0], planes[count - 1])
    assert not chosen.notes
    every = find_planes(path, PlaneChoice(every_plane=True))
    assert [plane.suffix for plane in every] == [f"_q{i}" for i in range(count)]


def test_one_result_for_each_frame(stack):
    found = images(stack, frames=(1, 3), z="0", channel="1")
    assert [image.suffix for image in found] == ["_t1", "_t2"]
    np.testing.assert_array_equal(found[1].read_window(0, 40, 0, 50)[:, :, 1], STACK[2, 0, 1])
    np.testing.assert_array_equal(found[1].pixels[:, :, 2], STACK[2, 0, 1])
    assert found[0].channels == ("0", "1")
    assert len(images(stack, frames=(-1, None), z="0", channel="1")) == 1


def test_every_plane(stack):
    found = images(stack, every_plane=True, z="max")
    assert [image.suffix for image in found] == [f"_t{t}_c{c}" for t in range(4) for c in range(2)]
    np.testing.assert_array_equal(found[3].pixels[:, :, 0], STACK[1, :, 1].max(axis=0))
    assert len(find_planes(stack, PlaneChoice(every_plane=True))) == 24


def test_mean_and_focus(tmp_path):
    sharp = np.zeros((64, 64), np.float32)
    sharp[20:30, 20:30] = 100
    blurred = sum(np.roll(sharp, (y, x), (0, 1)) for y in range(7) for x in range(7)) / 49
    planes = np.stack([blurred, sharp + 1000, np.zeros_like(sharp)])
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    (focus,) = images(tmp_path / "a.tif", z="focus")
    np.testing.assert_array_equal(focus.read_window(0, 64, 0, 64)[:, :, 0], planes[1])
    (mean,) = images(tmp_path / "a.tif", z="mean")
    np.testing.assert_allclose(mean.read_window(0, 64, 0, 64)[:, :, 0], planes.mean(axis=0))


def squares_and_blur() -> tuple[np.ndarray, np.ndarray]:
    sharp = np.zeros((64, 64), np.float32)
    sharp[20:30, 20:30] = 100
    return sharp, sum(np.roll(sharp, (y, x), (0, 1)) for y in range(7) for x in range(7)) / 49


def test_the_sharpest_plane_of_the_channel_that_is_looked_at(tmp_path):
    sharp, blurred = squares_and_blur()
    planes = np.array([[sharp, blurred], [blurred, 5 * blurred], [blurred, 0.1 * sharp]])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZCYX"})
    for channel, z in (("0", 0), ("1", 2)):
        (image,) = images(path, z="focus", channel=channel)
        np.testing.assert_array_equal(image.read_window(0, 64, 0, 64), np.moveaxis(planes[z], 0, 2))


def test_sharpness_is_that_of_finite_values_in_the_middle(tmp_path, monkeypatch):
    monkeypatch.setattr("cells.projections.FOCUS_SIDE", 48)
    sharp, blurred = squares_and_blur()
    border = blurred.copy()
    border[:7, ::2] = 1000  # sharper, but not in the middle
    flat = np.full_like(sharp, 7)
    bad = blurred.copy()
    bad[40, 40], bad[41, 45], bad[50, 45] = np.inf, -np.inf, np.nan
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.array([border, sharp, flat]), imagej=True, metadata={"axes": "ZYX"})
    (image,) = images(path, z="focus")
    np.testing.assert_array_equal(image.read_window(0, 64, 0, 64)[:, :, 0], sharp)
    assert _sharpness(flat) == 0
    assert 0 < _sharpness(blurred) < _sharpness(sharp)
    assert _sharpness(3 * sharp + 9) == pytest.approx(_sharpness(sharp), rel=1e-3)
    assert _sharpness(np.dstack([sharp] * 3)) == pytest.approx(_sharpness(sharp))
    assert np.isfinite(_sharpness(bad))


def test_brightest_values_and_means_of_planes_with_gaps(tmp_path):
    planes = STACK[:, 0, 0].astype(np.float32)
    planes[0, 3, 4] = planes[2, 3, 4] = planes[:, 5, 6] = np.nan
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZYX"})
    (image,) = images(path, z="max")
    highest = image.read_window(0, 40, 0, 50)[:, :, 0]
    np.testing.assert_array_equal(highest[0], planes[:, 0].max(axis=0))
    assert highest[3, 4] == max(planes[1, 3, 4], planes[3, 3, 4]) and np.isnan(highest[5, 6])
    (image,) = images(path, z="mean")
    mean = image.read_window(0, 40, 0, 50)[:, :, 0]
    assert mean.dtype == np.float32 and np.isnan(mean[3, 4])
    np.testing.assert_allclose(mean[0], planes[:, 0].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    "choice",
    [{"channel": "2"}, {"channel": "x"}, {"z": "9"}, {"z": "-1"}, {"frames": (7, 9)}],
)
def test_what_is_not_there(stack, choice):
    with pytest.raises(InputError, match="a.tif"):
        find_planes(stack, PlaneChoice(every_plane=True, **choice))


@pytest.mark.parametrize("choice", [{"z": "1"}, {"frames": (1, 2)}, {"channel": "1"}])
def test_what_a_single_image_does_not_have(tmp_path, choice):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0, 0, 0])
    with pytest.raises(InputError, match="a.tif"):
        find_planes(path, PlaneChoice(**choice))
    for usual in ({"z": "max"}, {"z": "0"}, {"frames": (0, None)}, {"channel": "0"}):
        assert [plane.suffix for plane in find_planes(path, PlaneChoice(**usual))] == [""]


def test_axes_without_a_name_are_what_was_asked_for(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in STACK[:, 0, 0]:
            tif.write(plane, contiguous=False, metadata=None)
    with pytest.raises(InputError, match="=4 Y=40 X=50"):
        find_planes(path, PlaneChoice())
    for choice in ({"channel": "3"}, {"z": "3"}, {"frames": (3, 4)}):
        (image,) = images(path, **choice)
        np.testing.assert_array_equal(image.pixels[:, :, 0], STACK[3, 0, 0])
    assert [image.suffix for image in images(path, every_plane=True)][-1].endswith("3")


def test_names_of_channels_and_colours(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "phase"]}}
    tifffile.imwrite(path, STACK[0, 0], metadata=metadata)
    (image,) = images(path, channel="Phase")
    np.testing.assert_array_equal(image.pixels[:, :, 0], STACK[0, 0, 1])
    assert image.channels == ("DAPI", "phase")
    with pytest.raises(InputError, match="DAPI, phase"):
        find_planes(path, PlaneChoice())
    colour = np.moveaxis(STACK[:3, 0, 0], 0, 2)
    tifffile.imwrite(tmp_path / "c.tif", colour, photometric="rgb")
    (image,) = images(tmp_path / "c.tif", channel="green")
    np.testing.assert_array_equal(image.pixels[:, :, 0], colour[:, :, 1])
    (image,) = images(tmp_path / "c.tif")
    np.testing.assert_array_equal(image.pixels, colour[:, :, ::-1])
    (image,) = images(tmp_path / "c.tif", channel="2")
    np.testing.assert_array_equal(image.pixels[:, :, 0], colour[:, :, 2])
    with pytest.raises(InputError, match="--channel 3 is not .* 0 to 2 .red, green, blue"):
        images(tmp_path / "c.tif", channel="3")


def test_colours_in_several_channels(tmp_path):
    path = tmp_path / "a.tif"
    data = RNG.integers(100, 140, (2, 40, 50, 3), np.uint8)
    tifffile.imwrite(path, data, photometric="rgb", metadata={"axes": "CYXS"})
    (image,) = images(path, channel="1")
    np.testing.assert_array_equal(image.pixels, data[1, :, :, ::-1])
    assert image.channels[4] == "1 green"
    np.testing.assert_array_equal(image.read_window(0, 40, 0, 50)[:, :, 4], data[1, :, :, 1])


def test_windows_are_cuts_of_the_whole(tmp_path):
    large = RNG.integers(0, 4000, (1500, 2100)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", large, tile=(256, 256), compression="zlib")
    (image,) = images(tmp_path / "a.tif")
    cut = image.window(700, 900, 1999, 2100)
    np.testing.assert_array_equal(cut, image.pixels[700:900, 1999:2100])
    assert cut.shape == (200, 101, 3)
