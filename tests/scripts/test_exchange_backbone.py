"""A trained model gets another backbone; the result is a checkpoint to train on from."""

from __future__ import annotations

import json

import numpy as np
from helpers import CONFIGS, assert_one_line_error

from network.checkpoints import load_checkpoint, save_checkpoint

WIDER = (
    "model.backbone.base_channels=16",
    "model.backbone.stem_channels=16",
    "model.neck.in_channels=64,128,256,512",
)


def test_the_new_model_has_the_old_one_s_heads_and_trains_on(
    start, run, untrained, shapes, tmp_path
):
    weights, output = tmp_path / "old.pth", tmp_path / "new.pth"
    old = load_checkpoint(untrained())
    old["meta"]["licence"] = "research only"
    save_checkpoint(weights, old)
    data = "--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"
    config = "--config", CONFIGS / "tiny_resnest.py", "--cfg-options", *WIDER
    done = start(
        *("exchange_backbone.py", "--weights", weights, "--output", output, *data, *config),
        *("--steps", 2, "--batch_size", 2, "--workers", 0),
    )
    assert done.returncode == 0, done.stderr
    assert "of the variance of the features is unexplained" in done.stdout
    new = load_checkpoint(output)
    assert new["meta"]["licence"] == "research only"
    assert new["meta"]["inference"] == old["meta"]["inference"]
    assert json.loads(new["meta"]["model"])["backbone"]["base_channels"] == 16
    for name, value in old["state_dict"].items():
        if not name.startswith(("backbone.", "neck.")):
            np.testing.assert_array_equal(new["state_dict"][name], value, name)

    done = run(
        *("train_cis.py", "--load_from", output, "--out_dir", tmp_path / "model", *data, *config),
        *("max_iters=1", "--workers", 0),
    )
    assert done.returncode == 0, done.stderr


def test_bad_input_ends_in_one_line(run, untrained, shapes, tmp_path):
    data = "--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"
    few = *data, "--steps", 1, "--batch_size", 1, "--workers", 0
    same = "--weights", untrained(), "--config", CONFIGS / "tiny_resnest.py"
    done = run("exchange_backbone.py", *same, *few, "--output", untrained())
    assert_one_line_error(done, "--output", "is the input")
    output = tmp_path / "new.pth"
    point_rend = "--weights", untrained(), "--config", CONFIGS / "tiny_point_rend.py"
    done = run("exchange_backbone.py", *point_rend, *few, "--output", output)
    assert_one_line_error(done, "--config", "its heads differ from those of --weights")
    done = run("exchange_backbone.py", *same, *few[2:], "--output", output, "--annotation_dir", "x")
    assert_one_line_error(done, "annotations_train_0.json")
    assert list(tmp_path.iterdir()) == []
