"""Pseudo labels as a user makes them: a round, its training, kills and mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import CONFIGS, ROOT, assert_one_line_error, write_shapes

import make_pseudo_labels
from utils.script import InputError

TRAIN = "annotations_train_0.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """`images` with a folder `unlabelled` in it, `annotations`, and `elsewhere` unlabelled ones."""
    folder = write_shapes(tmp_path_factory.mktemp("data") / "labelled", 2, 1)
    more = write_shapes(folder / "more", 5, 1, seed=9)
    (folder / "images" / "unlabelled").mkdir()
    for path in sorted((more / "images").glob("train*.png")):
        path.rename(folder / "images" / "unlabelled" / f"new_{path.name}")
    (more / "images").rename(folder / "elsewhere")
    return folder


def arguments(data: Path, weights: Path, out_dir: Path, *options) -> tuple:
    return (
        *("--image_dir", data / "images" / "unlabelled", "--weights", weights),
        *("--annotation_dir", data / "annotations", "--train_image_dir", data / "images"),
        *("--out_dir", out_dir, "--device", "cpu", "--precision", "fp32", *options),
    )


@pytest.fixture
def make(monkeypatch):
    """Run the script within this process, which spares its start."""

    def run_main(*args) -> None:
        monkeypatch.setattr(sys, "argv", ["make_pseudo_labels.py", *map(str, arguments(*args))])
        make_pseudo_labels.main(make_pseudo_labels.parse_args())

    return run_main


def test_a_round_trains_as_it_is(start, run, data, untrained, tmp_path):
    """One bad file and images that are annotated already do not stop it."""
    folder = data / "images" / "unlabelled"
    bad, known = folder / "bad.png", folder / "known.png"
    bad.write_text("no image")
    shutil.copy(data / "images" / "valid0.png", known)
    try:
        extra = ("--image_dir", folder, data / "elsewhere", "--least_cells", 2)
        out = tmp_path / "round1"
        done = start("make_pseudo_labels.py", *arguments(data, untrained(), out, *extra))
    finally:
        bad.unlink()
        known.unlink()
    assert_one_line_error(done, "1 of 7 images failed")
    assert "bad.png: unreadable" in done.stderr
    assert "1 of 8 images left out, which annotations_valid_0.json has" in done.stdout
    source = data / "annotations"
    valid = "annotations_valid_0.json"
    assert (tmp_path / "round1" / valid).read_bytes() == (source / valid).read_bytes()
    original, result = (json.loads((f / TRAIN).read_text()) for f in (source, tmp_path / "round1"))
    assert result["images"][: len(original["images"])] == original["images"]
    new = result["images"][len(original["images"]) :]
    names = [image["file_name"] for image in new]
    assert names == [f"unlabelled/new_train{i}.png" for i in range(5)] + ["../elsewhere/valid0.png"]
    options = result["info"]["pseudo_labels"]
    assert options["weights"][0][0] == untrained().name
    assert options["least_cells"] == 2
    done = run(
        "train_cis.py",
        *("--image_dir", data / "images", "--annotation_dir", tmp_path / "round1"),
        *("--config", CONFIGS / "tiny_resnest.py", "--out_dir", tmp_path / "model"),
        *("--max_iters", 1, "--batch_size", 2, "--workers", 0, "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    assert "8 training, 1 validation images" in (tmp_path / "model" / "train.log").read_text()


def test_killed_and_started_again_it_finishes_once(make, data, untrained, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    make(data, untrained(), whole, "--show_dir", tmp_path / "pictures")
    assert len(list((tmp_path / "pictures").glob("unlabelled_new_train*.png"))) == 5
    command = [sys.executable, "src/make_pseudo_labels.py"]
    command += map(str, arguments(data, untrained(), parts))
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not list(parts.glob("pseudo_labels_0/[!.]*.json")):
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert not (parts / TRAIN).exists()
    before = {path: path.stat().st_mtime_ns for path in parts.glob("pseudo_labels_0/[!.]*.json")}
    assert 0 < len(before) < 5
    left = parts / ".annotations_valid_0-a1b2c3d4.json"  # of a kill while the results are written
    left.write_text("{")
    make(data, untrained(), parts)
    assert not left.exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not made anew
    assert (parts / TRAIN).read_bytes() == (whole / TRAIN).read_bytes()
    make(data, untrained(seed=1), parts)  # other weights
    assert (parts / TRAIN).read_bytes() != (whole / TRAIN).read_bytes()
    assert not any(path.exists() for path in before)


def test_other_annotations_are_not_written_over(make, data, untrained, tmp_path):
    path = tmp_path / TRAIN
    path.write_bytes((data / "annotations" / TRAIN).read_bytes())
    before = path.read_bytes()
    with pytest.raises(InputError, match="--out_dir: .*holds other annotations"):
        make(data, untrained(), tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out_dir", "{annotations}"), "--out_dir: is --annotation_dir"),
        (("--train_image_dir", "tests"), "train0.png is not in tests.*--train_image_dir"),
        (("--image_dir", "nowhere"), "--image_dir nowhere: no such"),
        (("--image_dir", "{images}/train*.png"), "--image_dir: all of its images are annotated"),
        (("--least_score", "disk=0.5"), "--least_score disk=0.5: classes are disc, box, bar"),
        (("--known_class", "disk"), "--known_class disk: classes are disc, box, bar"),
        (("--least_cells", 1000), "--image_dir: no image with labels"),
        (("--weights", "{others}"), r"--weights: its classes \(a, b\)"),
    ],
)
def test_mistakes_are_explained(make, data, untrained, tmp_path, options, message):
    out = tmp_path / "out"
    places = {
        "annotations": data / "annotations",
        "images": data / "images",
        "others": untrained(names=("a", "b")),
    }
    options = [str(option).format(**places) for option in options]
    with pytest.raises(InputError, match=message):
        make(data, untrained(), out, *options)
    assert not (out / TRAIN).exists()
