"""The solution's other models on real images: two iterations, evaluation, ensemble, inference."""

from __future__ import annotations

import json
import sys

import pytest
from helpers import CONFIGS, ROOT

import evaluate_ensemble
import infer_cis
import train_cis

SARTORIUS = ROOT.parent / "shared" / "data" / "sartorius"
SHORT = ("--device", "cpu", "--precision", "bf16")


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    """The first two training images and the first validation image."""
    if not SARTORIUS.is_dir():
        pytest.skip(f"the real images are not in {SARTORIUS}")
    folder = tmp_path_factory.mktemp("few")
    for split, count in (("train", 2), ("valid", 1)):
        name = f"annotations_{split}_0.json"
        coco = json.loads((SARTORIUS / "annotations" / name).read_text())
        coco["images"] = coco["images"][:count]
        chosen = {image["id"] for image in coco["images"]}
        coco["annotations"] = [row for row in coco["annotations"] if row["image_id"] in chosen]
        (folder / name).write_text(json.dumps(coco))
    return folder


@pytest.fixture
def run_here(monkeypatch):
    """Run a script within this process, which spares its start."""

    def run(script, *args) -> None:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, args)])
        script.main(script.parse_args())

    return run


@pytest.mark.parametrize("name", ["tiny_point_rend", "tiny_swin", "tiny_gcnet"])
def test_trains_evaluates_and_joins_an_ensemble(run_here, annotations, untrained, tmp_path, name):
    data = ("--image_dir", SARTORIUS / "images", "--annotation_dir", annotations)
    out = tmp_path / "model"
    run_here(
        train_cis,
        *(*data, "--config", CONFIGS / f"{name}.py", "--out_dir", out, *SHORT),
        *("--max_iters", 2, "--batch_size", 2, "--workers", 0, "--cfg-options", "log_interval=1"),
    )
    log = [json.loads(line) for line in (out / "train.log.json").read_text().splitlines()]
    losses = [row for row in log if "loss" in row]
    assert len(losses) == 2
    assert all(0 < row["loss"] < 100 for row in losses)
    assert ("loss_point" in losses[0]) == (name == "tiny_point_rend")
    assert "mAP" in log[-1]
    weights = f"{out / 'latest.pth'} {untrained(names=('shsy5y', 'astro', 'cort'))}"
    run_here(
        evaluate_ensemble,
        *(*data, "--weights", weights, "--out_dir", tmp_path / "evaluation", *SHORT),
    )
    assert list((tmp_path / "evaluation").iterdir())
    image = next((SARTORIUS / "images" / "test").glob("*.png"))
    run_here(
        infer_cis,
        *("--image", image, "--weights", weights, "--out_dir", tmp_path / "found", *SHORT),
    )
    assert (tmp_path / "found" / image.name).is_file()
