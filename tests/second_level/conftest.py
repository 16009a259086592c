"""Data and a model that the tests of the 2nd level share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import write_shapes
from second_level_data import truth_of, write_all

QUICK = ("--iterations", 60)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Six annotated images in `images` and `annotations`, and their predictions in `pickles`."""
    folder = write_shapes(tmp_path_factory.mktemp("second_level") / "data", 1, 6)
    write_all(truth_of(folder), folder / "pickles")
    return folder


@pytest.fixture(scope="session")
def train(run, folder):
    """Run the training script on the fixture's data."""

    def train(out_dir: Path, *arguments: object, data_dir: Path = folder / "pickles"):
        return run(
            "train_2nd_level_catboost.py",
            *("--image_dir", folder / "images", "--annotation_dir", folder / "annotations"),
            *("--data_dir", data_dir, "--out_dir", out_dir, *arguments),
        )

    return train


@pytest.fixture(scope="session")
def model_dir(train, tmp_path_factory) -> Path:
    """A model that the script trained."""
    out_dir = tmp_path_factory.mktemp("model")
    done = train(out_dir, *QUICK)
    assert done.returncode == 0, done.stderr
    return out_dir
