"""Runs over many images as users start them, with a tiny model of random weights."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import ROOT, assert_one_line_error

from utils.files import sha256


@pytest.fixture(scope="module")
def weights(untrained) -> Path:
    return untrained()


def write_images(folder: Path, *names: str) -> dict[Path, str]:
    """Noise of 64 x 64 pixels; returns the SHA-256 of each file."""
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(90, 170, (64, 64), np.uint8))
    return {folder / name: sha256(folder / name) for name in names}


def options(weights: Path, folder: Path, out_dir: Path, *more: object) -> list[str]:
    fixed = ("--weights", weights, "--device", "cpu", "--precision", "fp32", "--threads", 1)
    return [*map(str, ("--image", folder, "--out_dir", out_dir, *fixed, *more))]


def rows(out_dir: Path) -> list[dict[str, str]]:
    with open(out_dir / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(out_dir: Path) -> dict[str, str]:
    """SHA-256 of every result of an image."""
    names = {path.stem for path in (out_dir / "records").glob("*.json")}
    files = [path for path in out_dir.iterdir() if path.is_file()]
    of_images = [path for path in files if any(path.name.startswith(name) for name in names)]
    return {path.name: sha256(path) for path in of_images}


def test_sources_are_never_overwritten(run, weights, tmp_path):
    sources = write_images(tmp_path, "a.png", "b.png")
    done = run("infer_cis.py", *options(weights, tmp_path, tmp_path))
    assert_one_line_error(done, "--out_dir", "a.png", "choose another folder")
    assert {path: sha256(path) for path in sources} == sources
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


def test_images_of_the_same_name_get_results_of_their_own(run, weights, tmp_path):
    write_images(tmp_path / "in", "a.png", "a.jpg", "a.tif", "r1/pos/a.png", "r2/pos/a.png")
    out = tmp_path / "in" / "results"  # within the folder that is listed
    command = options(weights, tmp_path / "in", out, "--recursive", "--save", "kaggle", "coco")
    done = run("infer_cis.py", *command)
    assert done.returncode == 0, done.stderr
    names = ["a_jpg", "a_png", "a_tif", "r1_pos_a", "r2_pos_a"]
    assert sorted(path.stem for path in (out / "records").iterdir()) == names
    images = [row["image"] for row in rows(out)]
    assert images == ["a.jpg", "a.png", "a.tif", "r1/pos/a.png", "r2/pos/a.png"]
    submission = (out / "submission.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in submission[1:]} == set(names)
    coco = json.loads((out / "r1_pos_a_coco.json").read_text())
    assert coco["images"][0]["file_name"] == "r1/pos/a.png"
    record = json.loads((out / "run.json").read_text())
    assert record["models"][0]["sha256"] == sha256(weights)
    assert (record["images"], record["finished"], record["failed"]) == (5, 5, {})

    done = run("infer_cis.py", *command, "--skip_existing")  # the results are no images
    assert "5 of 5 images were done already" in done.stdout
    assert "->" not in done.stdout and done.returncode == 0
    done = run("infer_cis.py", *command, "--skip_existing", "--score_thr", 0.5)
    assert "done already" not in done.stdout  # another threshold: other results


def test_shares_of_processes_and_machines_make_one_run(run, start, weights, tmp_path):
    write_images(tmp_path / "in", *(f"{i}.png" for i in range(7)))
    (tmp_path / "in" / "3.png").write_text("broken")
    command = options(weights, tmp_path / "in", tmp_path / "torchrun")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    done = start("infer_cis.py", *command, launcher=tuple(map(str, torchrun)))
    assert done.returncode != 0
    assert done.stdout.count("->") == 6, done.stderr  # the broken one did not end the others
    assert "1 of 7 images failed" in done.stderr
    for i, done_by_it in ((2, 2), (1, 4)):
        command = options(weights, tmp_path / "in", tmp_path / "shards", "--shard", f"{i}/2")
        done = run("infer_cis.py", *command)
        assert done.stdout.count("->") == done_by_it
        assert done.returncode == (2 if i == 2 else 0), done.stderr
    for folder in ("torchrun", "shards"):
        assert [row["image"] for row in rows(tmp_path / folder)] == [
            f"{i}.png" for i in range(7) if i != 3
        ]
    assert contents(tmp_path / "torchrun") == contents(tmp_path / "shards")


def test_killed_at_any_moment_and_started_again(run, weights, tmp_path):
    write_images(tmp_path / "in", *(f"{i}.png" for i in range(24)))
    save = ("--save", "labels", "csv")
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    done = run("infer_cis.py", *options(weights, tmp_path / "in", undisturbed, *save))
    assert done.returncode == 0, done.stderr
    command = options(weights, tmp_path / "in", killed, *save, "--skip_existing")
    for wanted in (1, 5, 11):  # killed as soon as so many results are seen
        kill_at(command, killed, wanted)
        for path in (killed / "records").glob("*.json"):
            assert json.loads(path.read_text())  # never half a record
    done = run("infer_cis.py", *command)
    assert done.returncode == 0, done.stderr
    assert "images were done already" in done.stdout
    assert contents(killed) == contents(undisturbed)
    assert not [path for path in killed.rglob(".*")]  # nothing half written is left
    assert [row["image"] for row in rows(killed)] == [f"{i}.png" for i in range(24)]


def kill_at(command: list[str], out_dir: Path, pictures: int) -> None:
    """Start a run and kill it when that many pictures are there."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "src" / "infer_cis.py"), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None and len(list(out_dir.glob("*.png"))) < pictures:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_works_from_any_folder_with_any_spelling_of_a_path(tmp_path):
    """The defaults, and copies of the bundled models under a path with a space."""
    spaced = tmp_path / "my models"
    spaced.mkdir()
    for name in ("demo_model_1.pth", "demo_model_2.pth"):
        (spaced / name).write_bytes((ROOT / "models" / name).read_bytes())
    image = cv2.imread(str(ROOT / "demo_images" / "simulated_cort.png"))[:260, :300]
    cv2.imwrite(str(tmp_path / "crop.png"), image)
    both = "./my models/demo_model_1.pth my models/demo_model_2.pth"
    results = []
    for number, given in enumerate(([], ["--weights", both])):
        command = [sys.executable, str(ROOT / "src" / "infer_cis.py"), "--image", "crop.png"]
        command += ["--out_dir", f"out{number}", "--device", "cpu", *given]
        command += ["--save", "csv", "coco"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "2nd level" in done.stdout
        record = json.loads((tmp_path / f"out{number}" / "run.json").read_text())
        assert Path(record["second_level"]).samefile(ROOT / "2nd_level_model" / "catboost.pkl")
        results.append((tmp_path / f"out{number}" / "crop.csv").read_text())
    assert results[0] == results[1]
    # the evaluation by default sees exactly these cells
    command = [sys.executable, str(ROOT / "src" / "evaluate_ensemble.py"), "--device", "cpu"]
    command += ["--annotation_file", "out0/crop_coco.json", "--image_dir", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "before rescoring" in done.stdout
    tables = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["tables"]
    figures = tables["competition metric"]["all"]
    assert figures["cells"] == figures["TP"] == len(results[0].splitlines()) - 1 > 0
    assert figures["FP"] == figures["FN"] == 0
