"""What a checkpoint knows of its training's scale, and what the networks see because of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import ROOT

from cells.images import resize
from network.checkpoints import load_checkpoint
from network.detector import Detector
from network.scale import (
    cell_diameters,
    median_diameters,
    network_scale,
    training_field,
    training_pixel_size,
    with_short_side,
    with_training_scale,
)

SLIM = {"short_side": 832, "long_side": 1664}
NAMES = ("shsy5y", "astro", "cort")


def test_a_checkpoint_of_before_was_trained_on_704_by_520():
    assert network_scale(SLIM) == 832 / 520
    assert network_scale({"short_side": 1024, "long_side": 2000}) == 1024 / 520
    assert network_scale({"short_side": 1024, "long_side": 1200}) == 1200 / 704  # the long side
    assert training_field(SLIM) == (520, 704)
    assert cell_diameters(SLIM, NAMES)["cort"] == 16.4
    assert training_pixel_size(SLIM, NAMES) == 1.24
    assert cell_diameters(SLIM, ("nucleus",)) is None  # it may have any size
    assert training_pixel_size(SLIM, ("nucleus",)) is None


def test_a_new_checkpoint_says_it_itself():
    written = with_training_scale(SLIM, (1040, 1408), {"cell": 31.0, "default": 31.0}, 0.65)
    written = json.loads(json.dumps(written))
    assert network_scale(written) == 0.8
    assert training_field(written) == (1040, 1408)
    assert cell_diameters(written, ("cell",)) == {"cell": 31.0, "default": 31.0}
    assert training_pixel_size(written, ("cell",)) == 0.65
    unknown = with_training_scale(SLIM, (1040, 1408), {}, None)
    assert training_pixel_size(unknown, NAMES) is None  # not that of the Sartorius images
    fixed = with_training_scale({**SLIM, "scale": 1.5}, (1040, 1408), {})
    assert network_scale(fixed) == 1.5


def test_another_short_side():
    assert with_short_side(SLIM, 416) == {"short_side": 416, "long_side": 832}
    written = with_training_scale(SLIM, (1040, 1408), {})
    assert network_scale(with_short_side(written, 1040)) == pytest.approx(1.0)


def test_median_diameters():
    areas = np.array([0, 100, 400, 900, 50]) * np.pi / 4
    found = median_diameters(areas, np.array([0, 0, 0, 0, 2]), NAMES)
    assert found == pytest.approx({"shsy5y": 20, "cort": 50**0.5, "default": 15})
    assert median_diameters(np.zeros(0), np.zeros(0, int), NAMES) == {}


@pytest.mark.parametrize("name", ["demo_model_1.pth", "demo_model_2.pth"])
def test_a_field_gives_the_same_network_input_as_ever(name):
    inference = json.loads(load_checkpoint(ROOT / "models" / name)["meta"]["inference"])
    image = np.random.default_rng(0).integers(0, 255, (520, 704, 3), dtype=np.uint8)
    factor = min(inference["short_side"] / 520, inference["long_side"] / 704)
    expected = torch.from_numpy(
        resize(image, (round(704 * factor), round(520 * factor)), "opencv")
    ).float()
    expected.sub_(torch.tensor(inference["pixel_mean"])).div_(torch.tensor(inference["pixel_std"]))
    detector = Detector(_Nothing(), inference, NAMES, torch.device("cpu"))
    prepared = detector.prepare(image)
    height, width = prepared.img_meta["img_shape"][:2]
    assert torch.equal(prepared.pixels[:height, :width], expected)
    assert prepared.pixels.shape[0] % 32 == prepared.pixels.shape[1] % 32 == 0


def test_other_sizes_are_seen_at_the_same_scale():
    detector = Detector(_Nothing(), _inference(), NAMES, torch.device("cpu"))
    for height, width in (260, 352), (1040, 1408), (100, 900):
        prepared = detector.prepare(np.zeros((height, width, 3), np.uint8))
        assert prepared.img_meta["img_shape"][:2] == (round(1.6 * height), round(1.6 * width))
    prepared = detector.prepare(np.zeros((260, 352, 3), np.uint8), image_scale=0.5)
    assert prepared.img_meta["img_shape"][:2] == (208, 282)


def _inference() -> dict:
    return {**SLIM, "pixel_mean": [128.0] * 3, "pixel_std": [11.578] * 3, "size_divisor": 32}


class _Nothing(torch.nn.Module):
    """In place of a model: preparing an image asks it nothing."""

    roi_head = torch.nn.Module()
