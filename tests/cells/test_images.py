"""Reading images of every kind."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from cells.images import read_image
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
