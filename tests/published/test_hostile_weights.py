"""Detectron2 files that are damaged or made to do harm."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from published.detectron2 import convert_weights, count_classes, read_weights
from utils.script import InputError

CLASSIFIER = "roi_heads.box_predictor.0.cls_score.weight"


def pickled(path: Path, value: object) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=4))
    return path


@pytest.mark.parametrize(
    "weights",
    [
        {"model": {"a": np.array(["text"])}},
        {"model": {"a": np.array([{}])}},
        {"model": {"a": np.array([1 + 2j])}},
        {"model": {"a": "text"}},
        {"model": {"a": None}},
        {"model": {"a": np.float64(1)}},
        {"model": {"a": np.array([np.nan], np.float32)}},
        {"model": {1: np.zeros(1, np.float32)}},
        {"model": {}},
        {"model": []},
        [],
        {},
    ],
)
def test_what_is_no_weights(weights, tmp_path):
    with pytest.raises(InputError, match=r"x\.pkl"):
        read_weights(pickled(tmp_path / "x.pkl", weights))
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth"):
        read_weights(tmp_path / "x.pth")


def test_a_key_that_crashes_torch(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s.")
        archive.writestr("x/version", "3\n")
    with pytest.raises(InputError, match="a key in it"):
        read_weights(tmp_path / "x.pth")


def test_an_array_that_crashes_numpy(tmp_path):
    """NumPy's own `scalar` takes any bytes for pointers where the dtype says objects."""
    scalar = (
        b"\x80\x04cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tR"
        b"C\x08AAAAAAAAtR."
    )
    (tmp_path / "x.pkl").write_bytes(scalar)
    with pytest.raises(InputError, match="'O8'"):
        read_weights(tmp_path / "x.pkl")
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", scalar)
        archive.writestr("x/version", "3\n")
    with pytest.raises(InputError, match="'O8'"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("shape", [(), (0,), (1, 5), (5000, 1)])
def test_impossible_numbers_of_classes(shape):
    with pytest.raises(InputError, match="classes"):
        count_classes({CLASSIFIER: torch.zeros(shape)}, "x.pth")


@pytest.mark.parametrize(
    "shape", [(), (0, 0, 0, 0), (4,), (3, 2, 1, 1), (4, 0, 1, 1), (4, 3, 1, 1)]
)
def test_weights_of_another_shape(shape):
    name = "backbone.fpn_lateral2"
    target = {"neck.lateral_convs.0.conv.weight": torch.zeros(4, 8, 1, 1)}
    with pytest.raises(InputError, match=r"x\.pth.*of another shape: backbone.fpn_lateral2"):
        convert_weights({f"{name}.weight": torch.zeros(shape)}, target, {}, "x.pth")
