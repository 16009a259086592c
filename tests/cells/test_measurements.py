"""The table of measurements: raw values of every channel, pixels and micrometres."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile

from cells.exports.segmented import SegmentedImage
from cells.exports.table import write_table
from cells.images import ImageOptions, ImageSource, open_image
from cells.instances import Instances
from cells.planes import PlaneChoice

SIZE = (50, 70)
CELL = (slice(10, 20), slice(30, 50))  # 10 rows, 20 columns


def table(tmp_path, path, options=None, choice=None) -> pd.Series:
    """The one row for a cell at `CELL`."""
    options = options or ImageOptions(choice or PlaneChoice())
    image = open_image(ImageSource(path), options=options)
    instances = Instances(
        SIZE,
        np.array([[30, 10, 50, 20]], np.float32),
        np.array([0.75], np.float32),
        np.array([0]),
        [np.ones((10, 20), np.float32)],
        np.array([[30, 10]]),
    )
    write_table(tmp_path / "a.csv", SegmentedImage("a", "a", image.pixels, instances, "c", image))
    return pd.read_csv(tmp_path / "a.csv").iloc[0]


def deep(value: int) -> np.ndarray:
    """16-bit noise about 1000 with a cell of `value` and one brighter pixel in it."""
    image = np.random.default_rng(0).integers(900, 1100, SIZE).astype(np.uint16)
    image[CELL] = value
    image[12, 40] = value + 200
    return image


@pytest.mark.parametrize("factor", [1, 4])
def test_intensities_are_the_files_own(tmp_path, factor):
    tifffile.imwrite(tmp_path / "a.tif", deep(2000) * factor)
    row = table(tmp_path, tmp_path / "a.tif")
    assert row["mean_intensity"] == pytest.approx(2001 * factor)
    assert (row["min_intensity"], row["max_intensity"]) == (2000 * factor, 2200 * factor)
    assert row["std_intensity"] == pytest.approx(np.std([2200] + 199 * [2000]) * factor)
    assert row["area"] == 200
    assert not [name for name in row.index if "um" in name]


def test_every_channel_in_micrometres(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {
        "axes": "CYX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeY": 0.5,
        "Channel": {"Name": ["DAPI", "phase contrast"]},
    }
    tifffile.imwrite(path, np.stack([deep(3000), deep(200)]), metadata=metadata)
    row = table(tmp_path, path, choice=PlaneChoice(channel="phase contrast"))
    assert row["mean_intensity_DAPI"] == pytest.approx(3001)
    assert row["mean_intensity_phase_contrast"] == pytest.approx(201)
    assert row["area_um2"] == pytest.approx(50)
    assert row["centroid_x_um"] == pytest.approx(row["centroid_x"] / 2)
    assert row["perimeter_um"] == pytest.approx(row["perimeter"] / 2)
    options = ImageOptions(PlaneChoice(channel="1"), pixel_size=2.0)
    assert table(tmp_path, path, options)["area_um2"] == pytest.approx(800)


def test_projection_is_measured(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([deep(500), deep(5000)]), imagej=True, metadata={"axes": "ZYX"})
    row = table(tmp_path, path, choice=PlaneChoice(z="max"))
    assert row["mean_intensity"] == pytest.approx(5001)
    assert table(tmp_path, path, choice=PlaneChoice(z="mean"))["mean_intensity"] == pytest.approx(
        2751
    )


def test_values_that_are_not_finite_are_left_out(tmp_path):
    image = deep(2000).astype(np.float32)
    image[10, 30:40] = np.nan
    image[11, 30] = np.inf
    tifffile.imwrite(tmp_path / "a.tif", image)
    row = table(tmp_path, tmp_path / "a.tif")
    assert row["mean_intensity"] == pytest.approx((188 * 2000 + 2200) / 189)
    image[CELL] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", image)
    assert np.isnan(table(tmp_path, tmp_path / "a.tif")["mean_intensity"])


def test_colours_are_channels_and_grey_stored_as_colours_is_one(tmp_path):
    grey = (deep(2000) // 20).astype(np.uint8)
    colour = np.dstack([grey, grey // 2, grey // 4])
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    row = table(tmp_path, tmp_path / "a.tif")
    assert row["mean_intensity_green"] == pytest.approx(colour[CELL][:, :, 1].mean())
    tifffile.imwrite(tmp_path / "b.tif", np.dstack([grey] * 3), photometric="rgb")
    row = table(tmp_path, tmp_path / "b.tif")
    assert row["mean_intensity"] == pytest.approx(grey[CELL].mean())
