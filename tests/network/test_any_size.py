"""The bundled models on images of other sizes than a training field, against the field itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import ROOT

from cells.images import read_image
from cells.rle import rle_iou, to_rles
from network.ensemble import load_ensemble
from network.tiles import moved
from network.tiling import TiledEnsemble
from utils.paths import BUNDLED_MODELS

IMAGE = ROOT / "demo_images" / "simulated_cort.png"


@pytest.fixture(scope="module")
def models():
    weights = [str(ROOT / path) for path in BUNDLED_MODELS]
    ensemble = load_ensemble(weights, torch.device("cpu"), torch.float32)
    return TiledEnsemble(ensemble, progress=False)


@pytest.fixture(scope="module")
def field(models):
    image = read_image(IMAGE)
    return image, models.predict(image)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.heavy)])
def test_a_mosaic_has_the_cells_of_its_fields(models, field, count):
    image, alone = field
    mosaic = np.tile(image, (count, count, 1))
    found = models.predict(mosaic)
    masks, matched = to_rles(found), 0
    height, width = image.shape[:2]
    for row in range(count):
        for column in range(count):
            there = moved(alone, column * width, row * height, mosaic.shape[:2])
            matched += ((rle_iou(to_rles(there), masks) >= 0.9).sum(axis=1) == 1).sum()
    assert matched >= 0.97 * count**2 * len(alone) > 0
    assert len(found) <= 1.03 * count**2 * len(alone)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (260, 352)])
def test_a_crop_has_the_cells_of_the_field_there(models, field, y, x):
    image, alone = field
    crop = models.predict(np.ascontiguousarray(image[y : y + 260, x : x + 352]))
    centres = alone.boxes.reshape(-1, 2, 2).mean(axis=1) - (x, y)
    there = alone[((centres >= 0) & (centres < (352, 260))).all(axis=1)]
    same = rle_iou(to_rles(there), to_rles(moved(crop, x, y, image.shape[:2]))) >= 0.5
    assert same.any(axis=1).mean() >= 0.75
    assert len(crop) <= 1.5 * len(there)  # 35 instead of about 8 when crops were enlarged
