"""How far views agree, and that it stays with its instance up to the second level."""

from __future__ import annotations

import numpy as np
import torch

from cells.instances import Boxes
from network.agreement import box_agreement, mask_agreement
from network.ensemble import load_ensemble
from network.tiles import concatenate
from second_level.features.agreement import NAMES
from second_level.features.table import compute_features


def boxes_of(rows: list[list[float]], scores: list[float]) -> Boxes:
    count = len(scores)
    return Boxes(
        np.array(rows, np.float32).reshape(count, 4),
        np.array(scores, np.float32),
        np.zeros(count, np.int64),
    )


def test_box_agreement_by_the_best_box_of_each_view():
    merged = boxes_of([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8])
    first = boxes_of([[0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 55.1]], [0.6, 0.9, 0.8])
    second = boxes_of([[0, 0, 10, 4]], [0.7])  # IoU 0.4
    nothing = boxes_of([], [])
    found = box_agreement(merged, [first, second])
    np.testing.assert_allclose(found, [[0.5, 0.45, 0.0], [0.5, 0.4, 0.0]])
    np.testing.assert_allclose(box_agreement(merged, [first, first])[0], [1.0, 0.9, 0.9])
    assert box_agreement(nothing, [first, nothing]).shape == (0, 3)


def test_mask_agreement_is_the_iou_with_the_mean_mask():
    mean = np.array([[0.9, 0.9, 0.1, 0.1]])
    views = [[np.array([[0.9, 0.9, 0.1, 0.1]])], [np.array([[0.9, 0.1, 0.9, 0.9]])]]
    np.testing.assert_allclose(mask_agreement([mean], views), [[0.625, 0.25]])
    assert mask_agreement([], [[], []]).shape == (0, 2)


def test_agreement_of_an_ensemble_becomes_features(untrained):
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    weights = [untrained(), untrained(seed=1)]
    found = load_ensemble(weights, torch.device("cpu"), torch.float32).predict(image)
    assert len(found) > 1
    table = compute_features(found, image)[list(NAMES)]
    np.testing.assert_allclose(table.to_numpy(), found.agreement)
    assert ((table >= 0) & (table <= 1)).all().all()
    assert (table["agreement_found"] >= 0.5).all()  # one of the two detected it
    assert table["agreement_mean_mask_iou"].nunique() > 1
    part = found[[1, 0]]
    np.testing.assert_array_equal(part.agreement, found.agreement[[1, 0]])
    both = concatenate([found, part], (60, 80))
    np.testing.assert_array_equal(both.agreement[-2:], part.agreement)
    alone = load_ensemble(weights[:1], torch.device("cpu"), torch.float32).predict(image)
    np.testing.assert_array_equal(alone.agreement[:, [0, 3, 4]], 1)
