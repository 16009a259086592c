"""Image files that a program could misread without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cells.exports.segmented import SegmentedImage
from cells.exports.table import columns, measure
from cells.grey import SARTORIUS, grey_map
from cells.images import ImageSource, find_planes, image_shape, open_image, read_image
from cells.instances import Instances
from cells.planes import NO_CHOICE, PlaneChoice
from utils.script import InputError

RNG = np.random.default_rng(0)
GREY = np.clip(RNG.normal(128, 12, (40, 50)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("factor", [1e-9, 1e-5, 1 / 65535, 1 / 255, 3.7])
def test_fractions_of_any_size_are_the_same_pixels(factor):
    expected = grey_map(GREY, SARTORIUS)(GREY)
    stored = GREY.astype(np.float64) * factor
    np.testing.assert_array_equal(grey_map(stored, SARTORIUS)(stored), expected)


def test_further_images_in_a_file_are_mentioned(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(GREY, metadata={"axes": "YX"})
        file.write(GREY[:20], metadata={"axes": "YX"})
        file.write(GREY[:30], metadata={"axes": "YX"})
    image = open_image(ImageSource(path))
    np.testing.assert_array_equal(image.pixels[:, :, 0], GREY)
    assert len(image.notes) == 1 and "2 more image(s)" in image.notes[0]
    tifffile.imwrite(path, GREY)
    assert not open_image(ImageSource(path)).notes


def test_reduced_copies_are_not_mentioned(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(GREY)
        file.write(GREY[::2, ::2], subfiletype=1)
    assert not open_image(ImageSource(path)).notes


def test_only_flags_that_can_choose_are_named(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:  # two positions of the stage
        file.write(GREY, metadata={"axes": "YX"})
        file.write(GREY, metadata={"axes": "YX"})
    with pytest.raises(InputError, match="P=2 Y=40 X=50; take --every_plane"):
        find_planes(path, NO_CHOICE)
    pages = [Image.fromarray(GREY)] * 3  # nothing says what the pages are
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="with --channel N|NAME or --z .* or --frames A:B, or"):
        find_planes(tmp_path / "b.tif", NO_CHOICE)


@pytest.mark.parametrize("read", [read_image, image_shape])
def test_scripts_without_these_flags_do_not_name_them(tmp_path, read):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([GREY] * 4), photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="a.tif: has several planes, Z=4") as error:
        read(path)
    assert "--" not in str(error.value) and "a file of its own" in str(error.value)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "ä.webp"])
def test_animations_are_not_read_as_one_picture(tmp_path, name):
    pages = [Image.fromarray(np.roll(GREY, 5 * i)) for i in range(2)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="animated, 2 pictures"):
        read_image(tmp_path / name)
    pages[0].save(tmp_path / name)
    assert read_image(tmp_path / name).shape == (40, 50, 3)


def write_palette(path: Path, values: np.ndarray, colours: np.ndarray, **more: object) -> None:
    """A TIFF whose values are numbers of colours, [256, 3] of 16 bits."""
    colormap = np.ascontiguousarray(colours.T.astype(np.uint16))
    tifffile.imwrite(path, values, photometric="palette", colormap=colormap, **more)


def test_numbers_of_colours_are_looked_up(tmp_path):
    path, order = tmp_path / "a.tif", RNG.permutation(256)
    colours = np.repeat(np.arange(256)[order][:, None], 3, axis=1) * 257
    write_palette(path, np.argsort(order)[GREY].astype(np.uint8), colours)
    np.testing.assert_array_equal(read_image(path)[:, :, 0], GREY)
    colours[:, :2] = 0  # blue only
    write_palette(path, np.argsort(order)[GREY].astype(np.uint8), colours)
    np.testing.assert_array_equal(read_image(path)[:, :, 0], GREY)
    assert not read_image(path)[:, :, 1:].any()


def test_tables_of_colours_of_8_bits(tmp_path):
    """Which some programs write instead of 16; a table that runs up and down is one of colours."""
    path, colours = tmp_path / "a.tif", np.zeros((256, 3), int)
    colours[1], colours[2], colours[3] = (200, 10, 0), (0, 255, 3), (0, 0, 100)
    values = RNG.integers(0, 4, (20, 30)).astype(np.uint8)
    write_palette(path, values, colours)
    np.testing.assert_array_equal(read_image(path), colours[values][:, :, ::-1])
    write_palette(path, values, colours * 257)
    np.testing.assert_array_equal(read_image(path), colours[values][:, :, ::-1])


@pytest.mark.parametrize("program", ["any", "imagej"])
def test_colours_for_looking_at_intensities_are_not(tmp_path, program):
    path, green = tmp_path / "a.tif", np.zeros((256, 3), int)
    green[:, 1] = np.arange(256) * 257
    if program == "imagej":  # which stores inverted tables so, too
        green = green[::-1]

        lut = {"LUTs": [(green.T // 257).astype(np.uint8)], "mode": "grayscale"}
        tifffile.imwrite(
            path,
            GREY,
            imagej=True,
            photometric="palette",
            metadata=lut,
            colormap=np.ascontiguousarray(green.T.astype(np.uint16)),
        )
    else:
        write_palette(path, GREY, green)
    np.testing.assert_array_equal(read_image(path)[:, :, 1], GREY)


def test_channels_of_one_name_have_columns_of_their_own(tmp_path):
    path = tmp_path / "a.ome.tif"
    planes = np.stack([np.full((20, 30), value, np.uint8) for value in (10, 20)])
    tifffile.imwrite(path, planes, metadata={"axes": "CYX", "Channel": {"Name": ["Cam", "Cam"]}})
    (plane,) = find_planes(path, PlaneChoice(channel="0"))
    instances = Instances(
        (20, 30),
        np.array([[2, 2, 6, 6]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        [np.ones((4, 4), np.float32)],
        np.array([[2, 2]]),
    )
    image = open_image(ImageSource(path, plane))
    segmented = SegmentedImage("a", "a.ome.tif", None, instances, ("cell",), image)
    assert len(set(columns(segmented))) == len(columns(segmented))
    (row,) = measure(segmented)
    assert (row["mean_intensity_0_Cam"], row["mean_intensity_1_Cam"]) == (10, 20)
