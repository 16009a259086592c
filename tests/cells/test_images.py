"""Reading images of every kind."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from cells.grey import AS_STORED, SARTORIUS, estimate_rule
from cells.histogram import Histogram
from cells.images import (
    ImageOptions,
    ImageSource,
    _spread,
    image_shape,
    open_image,
    read_image,
    resize,
    training_rule,
)
from cells.planes import PlaneChoice
from utils.script import InputError

GREY = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)
COLOR = np.stack([GREY, GREY // 2, GREY // 4], axis=2)  # BGR


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_grey_becomes_three_equal_channels(tmp_path, suffix):
    path = tmp_path / f"ä b{suffix}"
    path.write_bytes(cv2.imencode(suffix, GREY)[1].tobytes())
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_colours_are_bgr(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"a{suffix}"), COLOR)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), COLOR)


def test_jpeg(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((16, 16), 77, np.uint8))
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - 77).max() <= 1


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([COLOR, np.full_like(GREY, 9)])
    cv2.imwrite(str(tmp_path / "a.png"), rgba)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLOR)


def test_planar_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(COLOR[:, :, ::-1], 2, 0), photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), COLOR)


@pytest.mark.parametrize("name", ["missing.png", "empty.png", "text.png", "text.tif", "stack.tif"])
def test_unusable_files_are_named(tmp_path, name):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "text.tif").write_text("no image")
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((9, 8, 8), np.uint8))
    with pytest.raises(InputError, match=name):
        read_image(tmp_path / name)


def opened(path, **options):
    return open_image(ImageSource(path), options=ImageOptions(**options))


def test_what_is_known_of_an_image(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY.astype(np.uint16) * 257)
    image = opened(path)
    assert (image.path, image.suffix, image.axes) == (path, "", "Y=10 X=12")
    assert (image.shape, image.dtype, image.channels) == ((10, 12), np.uint16, ("",))
    assert (image.pixel_size, image.notes) == (None, [])
    assert opened(path, pixel_size=0.3).pixel_size == 0.3
    assert image_shape(path) == (10, 12)
    np.testing.assert_array_equal(image.read_window(2, 5, 1, 9)[:, :, 0], GREY[2:5, 1:9] * 257.0)
    window = image.window(2, 5, 1, 9)
    np.testing.assert_array_equal(window, image.pixels[2:5, 1:9])
    assert window.flags.c_contiguous and window.shape == (3, 8, 3)
    np.testing.assert_array_equal(window[:, :, 2], GREY[2:5, 1:9])
    np.testing.assert_array_equal(opened(path, invert=True).pixels[:, :, 0], 255 - GREY)


@pytest.mark.parametrize("same", [(0, 1), (1, 2), (0, 2)])
def test_colours_of_which_only_two_are_equal(tmp_path, same):
    colour = COLOR.copy()
    colour[:, :, same[1]] = colour[:, :, same[0]]
    cv2.imwrite(str(tmp_path / "a.png"), colour)
    image = opened(tmp_path / "a.png")
    assert image.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(image.pixels, colour)


def test_values_that_are_no_real_numbers(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.complex64))
    with pytest.raises(InputError, match="a.tif: values of type complex64"):
        opened(tmp_path / "a.tif")


def phase_contrast(seed: int = 0) -> np.ndarray:
    """uint8 [60, 80]: noise about 128 and dark cells."""
    image = np.random.default_rng(seed).normal(128, 6, (60, 80))
    image[10:20, 10:20] -= 40
    return np.rint(image).astype(np.uint8)


def test_what_is_told_of_the_values(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, 255 - phase_contrast())
    (note,) = open_image(ImageSource(path), SARTORIUS).notes
    assert "--invert" in note
    assert not open_image(ImageSource(path), SARTORIUS, ImageOptions(invert=True)).notes
    assert not open_image(ImageSource(path), AS_STORED).notes
    values = phase_contrast().astype(np.float32)
    values[0, :60] = np.nan
    tifffile.imwrite(path, values)
    (note,) = open_image(ImageSource(path), SARTORIUS).notes
    assert note.startswith("1.25% of the values are not finite")


def test_planes_as_colours_are_told_unless_one_was_chosen(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(COLOR, 2, 0), photometric="rgb", planarconfig="separate")
    (note,) = opened(path).notes
    assert "--z" in note
    image = opened(path, choice=PlaneChoice(channel="red"))
    np.testing.assert_array_equal(image.pixels[:, :, 1], COLOR[:, :, 0])
    assert not image.notes


def test_values_are_judged_by_windows_that_are_evenly_spread():
    assert _spread(960) == [(0, 960)]
    assert _spread(961)[0] == (0, 160) and _spread(961)[-1] == (801, 961)
    assert _spread(2160) == [(400 * i, 400 * i + 160) for i in range(6)]


def test_large_images_get_the_values_of_small_ones(tmp_path):
    """As many as are read of them say the same."""
    large = np.random.default_rng(0).normal(3000, 200, (1000, 1100)).astype(np.uint16)
    large[-150:, -150:] -= 1500
    for name, part in (("a.tif", large), ("b.tif", large[::2, ::2])):
        tifffile.imwrite(tmp_path / name, part)
    lines = [
        open_image(ImageSource(tmp_path / name), SARTORIUS).grey for name in ("a.tif", "b.tif")
    ]
    assert lines[0].gain == pytest.approx(lines[1].gain, rel=0.1)
    assert lines[0](large).mean() == pytest.approx(lines[1](large).mean(), abs=1)


def test_the_rule_of_training_images(tmp_path):
    """Deeper ones do not count; with none of 8 bits it is the usual one."""
    images = [phase_contrast(seed) for seed in range(3)]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    deep = tmp_path / "deep.tif"
    tifffile.imwrite(deep, np.random.default_rng(0).normal(3000, 300, (50, 60)).astype(np.uint16))
    expected = estimate_rule([Histogram.of(image).statistics() for image in images])
    assert training_rule([*paths, deep]) == training_rule(paths) == expected != SARTORIUS
    assert training_rule([deep]) == SARTORIUS


def test_two_ways_to_resize():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 90
    for library in ("opencv", "pillow"):
        assert resize(image, (16, 4), library).shape == (4, 16, 3)
        np.testing.assert_array_equal(resize(image, (8, 8), library), image)
    stripe = np.zeros((8, 8, 3), np.uint8)
    stripe[:, 0] = 200
    assert resize(stripe, (2, 2), "opencv").max() == 0  # takes two pixels of four
    assert resize(stripe, (2, 2), "pillow")[0, 0, 0] > 10  # averages all
