"""Training as a user runs it: learning, resuming, several processes, errors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest
import torch
from helpers import CONFIGS, ROOT, assert_one_line_error, write_shapes

from network.checkpoints import load_checkpoint

QUICK = ("--batch_size", 2, "--workers", 0, "--precision", "fp32", "--device", "cpu")


def arguments(shapes, out_dir, *options, config="tiny_resnest") -> tuple:
    return (
        *("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"),
        *("--config", CONFIGS / f"{config}.py", "--out_dir", out_dir, *QUICK, *options),
    )


def train(run, shapes, out_dir, *options, config="tiny_resnest", **kwargs):
    return run("train_cis.py", *arguments(shapes, out_dir, *options, config=config), **kwargs)


def assert_same_state(first, second):
    """The averaged weights, those that go on learning, and the optimizer's moments."""
    first, second = load_checkpoint(first), load_checkpoint(second)
    for part in ("state_dict", "weights"):
        assert first[part].keys() == second[part].keys()
        for name, value in first[part].items():
            torch.testing.assert_close(value, second[part][name], msg=name, rtol=0, atol=0)
    assert any(
        not torch.equal(v, first["weights"][name]) for name, v in first["state_dict"].items()
    )
    moments = zip(*(x["optimizer"]["state"].values() for x in (first, second)), strict=True)
    for ours, theirs in moments:
        torch.testing.assert_close(ours["exp_avg"], theirs["exp_avg"], rtol=0, atol=0)


def test_training_learns(trained):
    log = [json.loads(line) for line in (trained / "train.log.json").read_text().splitlines()]
    scores = [row["mAP"] for row in log if "mAP" in row]
    assert len(scores) == 4
    assert scores[-1] > 0.5  # an untrained model finds nothing
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]


def test_training_leaves_what_users_expect(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"latest.pth", "train.log", "train.log.json", "config.py", "environment.json"} <= names
    assert len([name for name in names if name.startswith("best_mAP")]) == 1
    assert any((trained / "tf_logs").iterdir())
    assert "learning rate x 1 = 0.003, 400 iterations" in (trained / "train.log").read_text()
    meta = load_checkpoint(next(trained.glob("best_*.pth")))["meta"]
    assert meta["class_names"] == ["disc", "box", "bar"]


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_after_a_kill_equals_an_uninterrupted_run(run, shapes, tmp_path, workers):
    """AdamW's moments, the schedule, the data stream and all random numbers continue."""
    steps = ("--max_iters", 30, "--eval_interval", 10, "--workers", workers)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(run, shapes, whole, *steps).returncode == 0
    command = [sys.executable, "src/train_cis.py", *map(str, arguments(shapes, parts, *steps))]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as `run` has, for equal sums
    ) as process:
        while not (parts / "latest.pth").is_file():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert load_checkpoint(parts / "latest.pth")["meta"]["iter"] < 30
    done = train(run, shapes, parts, *steps, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert_same_state(whole / "latest.pth", parts / "latest.pth")
    assert (parts / "train.log").read_text().count("learning rate x") == 2  # goes on, too
    other = train(run, shapes, parts, *steps, "--resume", "auto", "--seed", 3)
    assert_one_line_error(other, "latest.pth", "seed is 3")
    again = train(run, shapes, parts, *steps)
    assert_one_line_error(again, "holds another training", "--overwrite")


def test_published_architecture_trains_and_segments(run, shapes, tmp_path):
    """Deformable convolutions, three-fold cascade and one mask head, as tiny as they come."""
    out_dir = tmp_path / "published"
    done = train(run, shapes, out_dir, "--max_iters", 20, config="tiny_published")
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (out_dir / "train.log.json").read_text().splitlines()]
    rows = [row for row in log if "loss" in row]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert {"s0.loss_mask", "s1.loss_bbox"} <= rows[0].keys()
    assert "s1.loss_mask" not in rows[0]  # one mask head
    image = shapes / "images" / "valid0.png"
    options = ("--image", image, "--weights", out_dir / "latest.pth", "--out_dir", tmp_path)
    done = run("infer_cis.py", *options, "--device", "cpu", "--score_thr", 0.01)
    assert done.returncode == 0, done.stderr


def test_two_processes_train_one_model(start, shapes, tmp_path):
    """What they learn together is compared with one process in training/test_processes.py."""
    steps = ("--max_iters", 2, "--seed", 5)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = train(start, shapes, tmp_path / "two", *steps, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert "4 image(s) a step" in (tmp_path / "two" / "train.log").read_text()
    assert (tmp_path / "two" / "latest.pth").is_file()


def test_another_architecture_and_other_classes(run, trained, tmp_path):
    shapes = write_shapes(tmp_path / "data", 2, 1, seed=1)
    done = train(run, shapes, tmp_path / "cascade", "--max_iters", 2, config="tiny_cascade")
    assert done.returncode == 0, done.stderr
    for path in (shapes / "annotations").iterdir():
        coco = json.loads(path.read_text())
        coco["categories"].append({"id": 99, "name": "new"})
        path.write_text(json.dumps(coco))
    load_from = ("--load_from", trained / "latest.pth")
    done = train(run, shapes, tmp_path / "four", "--max_iters", 1, *load_from)
    assert done.returncode == 0, done.stderr
    assert "taken over by name: disc, box, bar; new: new" in done.stderr + done.stdout
    assert len(load_checkpoint(tmp_path / "four" / "latest.pth")["meta"]["class_names"]) == 4


def test_bf16_on_cpu(run, shapes, tmp_path):
    done = train(run, shapes, tmp_path, "--max_iters", 1, "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    assert "no validation image" not in done.stderr


def test_nothing_to_learn_from_is_said(run, tmp_path):
    shapes = write_shapes(tmp_path / "data", 2, 1)
    for path in (shapes / "annotations").iterdir():
        path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    done = train(run, shapes, tmp_path / "out", "--max_iters", 1)
    assert done.returncode == 0, done.stderr
    for kind in ("training", "validation"):
        assert f"no {kind} image has any cell" in done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--batch_size", 0), ("--batch_size: '0'", "at least 1")),
        (("--max_iters", -1), ("--max_iters: '-1'",)),
        (("--config", "nowhere.py"), ("--config nowhere.py", "no such file")),
        (("--cfg-options", "max_iters"), ("--cfg-options max_iters", "KEY=VALUE")),
        (("--device", "cuda"), ("--device cuda", "--device cpu")),
        (("--device", "tpu"), ("--device tpu",)),
        (("--fold", 5), ("annotations_train_5.json", "no such annotation file")),
        (("--load_from", "nowhere.pth"), ("nowhere.pth", "no such checkpoint")),
        (("--resume", "a.pth", "--load_from", "b.pth"), ("--resume", "--load_from")),
        (("--resume", "auto", "--overwrite"), ("--resume", "--overwrite")),
        (("--cfg-options", "optimizer.lr=1e30"), ("is not finite any more", "lower learning rate")),
        (("--image_dir", "nowhere"), ("--image_dir nowhere",)),
    ],
)
def test_bad_options_end_with_one_line(run, shapes, tmp_path, options, parts):
    assert_one_line_error(train(run, shapes, tmp_path / "out", *options), *parts)


def test_weights_that_are_no_checkpoint(run, shapes, tmp_path):
    path = tmp_path / "x.pth"
    path.write_text("no checkpoint")
    earlier = tmp_path / "out" / "latest.pth"
    earlier.parent.mkdir()
    earlier.write_text("another training")
    done = train(run, shapes, tmp_path / "out", "--load_from", path, "--overwrite")
    assert_one_line_error(done, "x.pth", "not a readable checkpoint")
    assert earlier.is_file()  # until the new one can start


def test_unreachable_pretrained_weights(run, shapes, tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # a port that is taken, and where nobody listens
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/resnest200.pth"
        config = tmp_path / "pretrained.py"
        config.write_text(
            f"_base_ = {str(CONFIGS / 'tiny_resnest.py')!r}\n"
            f"weights = dict(_delete_=True, type='Pretrained', checkpoint={url!r})\n"
            "model = dict(backbone=dict(init_cfg=weights))\n"
        )
        options = ("--config", config, "--max_iters", 1)
        done = train(run, shapes, tmp_path / "out", *options)
        assert_one_line_error(done, "--from_scratch")
        again = train(run, shapes, tmp_path / "out", *options, "--from_scratch")
        assert again.returncode == 0, again.stderr
