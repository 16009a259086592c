"""Small data and models that the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import CLASS_NAMES, CONFIGS, ROOT, write_shapes
from untrained import write_untrained


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess]:
    """Run a script of src/ as a user does, from the repository's root, on the CPU."""

    def run_script(script: str, *args: object, launcher: tuple = ()) -> subprocess.CompletedProcess:
        command = [sys.executable, *launcher, str(ROOT / "src" / script), *map(str, args)]
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    return run_script


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `images` and `annotations` of 8 training and 3 validation images."""
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", 8, 3)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a checkpoint of a tiny config with random weights that answers with many boxes."""
    folder = tmp_path_factory.mktemp("untrained")

    def make(config: str = "tiny_resnest", seed: int = 0, names: tuple = CLASS_NAMES) -> Path:
        path = folder / f"{config}_{seed}_{len(names)}_{names[0]}.pth"
        return path if path.is_file() else write_untrained(path, config, seed, names)

    return make


@pytest.fixture(scope="session")
def trained(run, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a short training on `shapes`, which learns them."""
    out_dir = tmp_path_factory.mktemp("trained") / "model"
    done = run(
        "train_cis.py",
        *("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"),
        *("--config", CONFIGS / "tiny_resnest.py", "--out_dir", out_dir),
        *("--batch_size", 2, "--workers", 0, "--precision", "fp32"),
    )
    assert done.returncode == 0, done.stderr
    return out_dir
