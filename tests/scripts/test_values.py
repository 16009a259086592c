"""infer_cis.py on files of every kind: the same pixels give the same cells."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import tifffile
from helpers import assert_one_line_error, write_shapes


def segment(run, weights, image, out_dir, *options):
    save = ("--save", "csv", "--no_2nd_level", "--device", "cpu")
    return run(
        "infer_cis.py",
        "--image",
        image,
        "--weights",
        weights,
        "--out_dir",
        out_dir,
        *save,
        *options,
    )


def picture(tmp_path):
    """uint8 [96, 128] with cells of known grey values."""
    write_shapes(tmp_path / "shapes", 1, 0)
    return cv2.imread(str(tmp_path / "shapes" / "images" / "train0.png"), cv2.IMREAD_GRAYSCALE)


def test_a_folder_of_all_kinds(run, untrained, tmp_path):
    grey = picture(tmp_path)
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    cv2.imwrite(str(folder / "plain.png"), grey)
    tifffile.imwrite(folder / "deep.tif", grey.astype(np.uint16) * 257)
    rgba = np.dstack(
        [grey.astype(np.uint16) * 257] * 3 + [np.full_like(grey, 255, np.uint16) * 257]
    )
    cv2.imwrite(str(folder / "rgba.png"), rgba)
    tifffile.imwrite(folder / "white.tif", 255 - grey, photometric="miniswhite")
    stack = np.stack([grey] * 3)
    tifffile.imwrite(folder / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "huge.tif", grey, compression="zlib", rowsperstrip=96)
    with tifffile.TiffFile(folder / "huge.tif", mode="r+b") as tif:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[tag].overwrite(60000)
    (folder / "text.tif").write_text("no image")
    (folder / "a1²3.png").write_text("no image")
    (folder / "._plain.png").write_bytes(b"\x00\x05\x16\x07 of macOS")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = segment(run, untrained(), folder, out)
    assert_one_line_error(done, "4 of 8 images failed")
    for name in ("stack.tif", "huge.tif", "text.tif", "a1²3.png"):
        (line,) = [line for line in done.stderr.splitlines() if f"{name}:" in line]
        assert line.startswith("error: ")
    assert len([line for line in done.stderr.splitlines() if "._plain.png" in line]) == 1
    assert "--z" in done.stderr and "Z=3" in done.stderr
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    tables = {name: pd.read_csv(out / f"{name}.csv") for name in ("plain", "deep", "rgba", "white")}
    plain = tables["plain"]
    assert len(plain)
    intensities = [name for name in plain if "intensity" in name]
    for name, table in tables.items():
        pd.testing.assert_frame_equal(
            table.drop(columns=intensities), plain.drop(columns=intensities), check_exact=True
        )
        factor = 257 if name in ("deep", "rgba") else 1
        np.testing.assert_allclose(table[intensities], factor * plain[intensities])


def test_planes_pixel_size_and_inversion(run, untrained, tmp_path):
    grey = picture(tmp_path)
    series = np.stack([np.stack([grey, grey // 2]), np.stack([grey[:, ::-1], grey]), [grey] * 2])
    metadata = {"axes": "TCYX", "Channel": {"Name": ["phase", "DAPI"]}}
    path = tmp_path / "series.ome.tif"
    tifffile.imwrite(path, series, metadata=metadata)
    out = tmp_path / "out"
    choice = ("--channel", "phase", "--frames", "0:2", "--pixel_size", 0.5)
    done = segment(run, untrained(), path, out, *choice)
    assert done.returncode == 0, done.stderr
    names = [f"series.ome_t{t}" for t in range(2)]
    tables = [pd.read_csv(out / f"{name}.csv") for name in names]
    assert not (out / "series.ome_t2.csv").exists()
    assert sorted(pd.read_csv(out / "summary.csv")["image"]) == [
        f"series.ome.tif_t{t}" for t in (0, 1)
    ]
    for table in tables:
        np.testing.assert_allclose(table["area_um2"], table["area"] / 4)
        assert {"mean_intensity_phase", "mean_intensity_DAPI"} <= set(table)

    cv2.imwrite(str(tmp_path / "inverted.png"), 255 - grey)
    done = segment(run, untrained(), tmp_path / "inverted.png", out, "--invert")
    assert done.returncode == 0, done.stderr
    shape = ["label", "score", "area", "centroid_x", "centroid_y"]
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "inverted.csv")[shape], tables[0][shape], check_exact=True
    )
