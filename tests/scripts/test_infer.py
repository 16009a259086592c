"""The main job as a user runs it."""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
import torch
from helpers import assert_one_line_error
from pycocotools import mask as coco_mask

from cells.annotations import load_annotations
from infer_cis import at_estimated_scale
from utils.script import InputError


@pytest.fixture(scope="module")
def weights(trained):
    return next(trained.glob("best_*.pth"))


def infer(run, out_dir, *options):
    return run("infer_cis.py", "--out_dir", out_dir, "--device", "cpu", *options)


def test_finds_the_cells_and_writes_them_in_every_format(run, shapes, weights, tmp_path):
    image = shapes / "images" / "valid0.png"
    save = ("--save", "labels", "rois", "coco", "csv")
    done = infer(run, tmp_path, "--image", image, "--weights", f"{weights} {weights}", *save)
    assert done.returncode == 0, done.stderr
    found = int(re.search(r"(\d+) cells", done.stdout).group(1))
    assert 5 <= found <= 7  # 6 are there
    picture = cv2.imread(str(tmp_path / "valid0.png"))
    assert picture.shape[0] % 96 == 0
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    labels = tifffile.imread(tmp_path / "valid0_labels.tif")
    assert labels.shape == (96, 128)
    assert set(np.unique(labels)) == set(range(found + 1))
    table = pd.read_csv(tmp_path / "valid0.csv")
    assert len(table) == found
    assert (table["area"] == np.bincount(labels.ravel())[1:]).all()
    assert {"disc", "box", "bar"} == set(table["class"])
    assert len(roifile.roiread(tmp_path / "valid0_rois.zip")) == found
    coco = json.loads((tmp_path / "valid0_coco.json").read_text())
    assert len(coco["annotations"]) == found
    truth = load_annotations(shapes / "annotations/annotations_valid_0.json", shapes / "images")
    masks = [row["segmentation"] for row in coco["annotations"]]
    iou = coco_mask.iou(masks, truth.images[0].rles, [0] * 6)
    assert np.median(iou.max(axis=0)) > 0.7


def test_default_models_and_image(start, tmp_path):
    done = infer(start, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "demonstration models" in done.stdout
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert int(re.search(r"(\d+) cells", done.stdout).group(1)) > 5


def test_second_level_from_end_to_end(run, start, shapes, weights, tmp_path):
    """The three commands of the README: predictions, training, rescored inference."""
    data = ("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations")
    pickles, model = tmp_path / "pickles", tmp_path / "model"
    models = ("--weights", weights, "--device", "cpu")
    done = start("prepare_for_2nd_level_model.py", *data, *models, "--out_dir", pickles)
    assert done.returncode == 0, done.stderr
    options = ("--data_dir", pickles, "--out_dir", model, "--iterations", 20)
    done = start("train_2nd_level_catboost.py", *data, *options)
    assert done.returncode == 0, done.stderr
    second = ("--2nd_level_model", model / "catboost.pkl")
    second = (*second, "--2nd_level_features", model / "features.csv")
    image = ("--image", shapes / "images" / "valid0.png", "--save", "coco")
    scores = {}
    for name, options in (("first", ()), ("second", second)):
        done = infer(run, tmp_path / name, *image, "--weights", weights, *options)
        assert done.returncode == 0, done.stderr
        assert ("2nd level" in done.stdout) == (name == "second")
        coco = json.loads((tmp_path / name / "valid0_coco.json").read_text())
        scores[name] = [row["score"] for row in coco["annotations"]]
    assert sorted(scores["second"], reverse=True) == scores["second"]
    assert scores["second"] != scores["first"]
    out = ("--out_dir", tmp_path / "evaluation")
    done = run("evaluate_ensemble.py", *data, *models, *second, *out)
    assert done.returncode == 0, done.stderr
    assert "before rescoring" in done.stdout
    assert_one_line_error(
        infer(run, tmp_path, *second[:2], "--no_2nd_level"), "--no_2nd_level", "--2nd_level_model"
    )


def test_one_bad_file_does_not_stop_the_others(run, shapes, weights, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a_bad.png").write_text("no image")
    (folder / "a_huge.png").write_bytes(png_header(60_000, 60_000))
    (folder / "notes.txt").write_text("not looked at")
    for name in ("b.png", "c.tif"):
        cv2.imwrite(str(folder / name), cv2.imread(str(shapes / "images" / "valid1.png")))
    done = infer(run, tmp_path / "out", "--image", folder, "--weights", weights)
    assert_one_line_error(done, "2 of 4 images failed")
    assert "a_bad.png" in done.stderr and "a_huge.png" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["b.png", "c.png"]
    assert len(pd.read_csv(tmp_path / "out" / "summary.csv")) == 2
    run_record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [Path(p).name for p in run_record["failed"]] == ["a_bad.png", "a_huge.png"]


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims to be large and holds no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def test_an_image_of_several_tiles(run, untrained, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (150, 300), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "large.tif", image, tile=(64, 64), compression="zlib")
    files = ("--image", tmp_path / "large.tif", "--weights", untrained(), "--save", "labels", "csv")
    done = infer(run, tmp_path / "out", *files, "--scale", "0.9", "--tta")  # 2 x 3 tiles
    assert done.returncode == 0, done.stderr
    assert "/6 [" in done.stderr  # the bar of the tiles
    labels = tifffile.imread(tmp_path / "out" / "large_labels.tif")
    assert labels.shape == image.shape
    table = pd.read_csv(tmp_path / "out" / "large.csv")
    assert 0 < len(table) == len(np.unique(labels)) - 1
    assert labels[:, 220:].any()
    assert labels[:75, :100].any()
    run_json = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run_json["settings"]["image_scale"] == 0.9
    both = ("--estimate_scale", "--scale", "1")
    assert_one_line_error(infer(run, tmp_path / "no", *files, *both), "--estimate_scale")


def test_no_cells_is_a_normal_answer(run, weights, tmp_path):
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((70, 90), 128, np.uint8))
    save = ("--save", "labels", "rois", "coco", "csv", "--score_thr", 1)
    image = ("--image", tmp_path / "flat.png")
    done = infer(run, tmp_path / "out", *image, "--weights", weights, *save)
    assert done.returncode == 0, done.stderr
    assert "no cells found" in done.stdout
    assert not tifffile.imread(tmp_path / "out" / "flat_labels.tif").any()
    assert len(pd.read_csv(tmp_path / "out" / "flat.csv")) == 0
    assert json.loads((tmp_path / "out" / "flat_coco.json").read_text())["annotations"] == []


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--image", "nowhere.png"), ("--image nowhere.png",)),
        (("--weights", "nowhere.pth"), ("nowhere.pth", "no such checkpoint")),
        (("--weights", ""), ("--weights",)),
        (("--weights", "README.md"), ("README.md", "not a readable checkpoint")),
        (("--score_thr", "2"), ("argument --score_thr", "from 0 to 1")),
        (("--device", "cuda"), ("--device cuda",)),
        (("--precision", "fp16"), ("--precision fp16", "GPU")),
    ],
)
def test_bad_options_end_with_one_line(run, tmp_path, options, parts):
    assert_one_line_error(infer(run, tmp_path / "out", *options), *parts)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_cannot_run_code(run, untrained, tmp_path):
    """A name that mmcv would evaluate; tests/network/test_hostile_checkpoints.py has more ways."""
    mark = tmp_path / "executed"
    checkpoint = torch.load(untrained("tiny_resnest"), weights_only=True)
    model = json.loads(checkpoint["meta"]["model"])
    model["test_cfg"]["rpn"]["nms"]["type"] = f"(lambda *a, **k: open({str(mark)!r}, 'w'))"
    checkpoint["meta"]["model"] = json.dumps(model)
    torch.save(checkpoint, tmp_path / "x.pth")
    done = infer(run, tmp_path / "out", "--weights", tmp_path / "x.pth")
    assert_one_line_error(done, "x.pth", "not among those that are built")
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_the_scale_is_that_of_a_neighbour_where_the_middle_image_shows_none(monkeypatch, capsys):
    seen = []

    def estimate(ensemble, image):
        seen.append(image)
        if len(seen) < 3:
            raise InputError(f"{image}: no cells")
        return 1.5

    monkeypatch.setattr("cells.images.open_image", lambda source, *_: source.path)
    monkeypatch.setattr("network.scale_estimate.estimate_scale", estimate)
    unset = dict.fromkeys(("scale", "diameter", "pixel_size", "channel", "z", "frames"))
    args = SimpleNamespace(**unset, invert=False, every_plane=False)
    planned = [SimpleNamespace(path=i, plane=None, label=f"{i}.tif") for i in range(9)]
    ensemble = SimpleNamespace(ensemble=None, grey_rule=None, at_scale=lambda scale: scale)
    assert at_estimated_scale(args, ensemble, planned) == 1.5
    assert seen == [4, 3, 5]
    assert "estimated from 5.tif" in capsys.readouterr().out
    seen.clear()
    with pytest.raises(InputError, match="0: no cells"):
        at_estimated_scale(args, ensemble, planned[:1])
