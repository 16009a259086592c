"""The rule for grey values: made from the training images, and what training reads by."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from helpers import CONFIGS
from mmcv import Config

from cells.annotations import annotation_file, load_annotations
from cells.grey import SARTORIUS, GreyRule
from cells.images import read_image
from training.statistics import describe_data
from training.transforms import LoadCellImage


@pytest.fixture
def records(shapes):
    path = annotation_file(shapes / "annotations", "train", 0)
    return load_annotations(path, shapes / "images").images


def test_training_images_keep_their_values_and_deep_ones_get_the_same(records, tmp_path):
    inference = Config.fromfile(str(CONFIGS / "tiny_resnest.py")).inference
    names = ("disc", "box", "bar")
    grey = describe_data(dict(inference) | {"grey": None}, records, names)["grey"]
    rule = GreyRule.from_dict(grey)
    load = LoadCellImage(grey)
    for record in records:
        stored = cv2.imread(str(record.path))
        np.testing.assert_array_equal(load({"record": record})["img"], stored)
        tifffile.imwrite(tmp_path / "deep.tif", stored[:, :, 0].astype(np.uint16) * 257)
        np.testing.assert_array_equal(read_image(tmp_path / "deep.tif", rule), stored)
    given = describe_data(dict(inference) | {"grey": SARTORIUS.to_dict()}, records, names)
    assert GreyRule.from_dict(given["grey"]) == SARTORIUS
