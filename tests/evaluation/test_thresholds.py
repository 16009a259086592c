"""Confidence thresholds: one pass against filtering at each of them."""

from __future__ import annotations

import numpy as np
import pytest
from discs import annotated, disc, predicted, random_case
from helpers import CLASS_NAMES

from evaluation.metrics import compare_instances
from evaluation.thresholds import CONFIDENCES, best_confidence, image_curve, precision_and_recall


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_gives_what_each_threshold_would(seed):
    record, instances = random_case(seed)
    curve = image_curve(compare_instances(instances, record), instances.scores, 0, 0.5)
    for i, confidence in enumerate(CONFIDENCES):
        kept = instances[instances.scores >= confidence]
        score = compare_instances(kept, record).score()
        assert curve.ap[i] == pytest.approx(score.ap, abs=1e-12)
        assert curve.counts[:, i].tolist() == [score.tp[0], score.fp[0], score.fn[0]]
    kept = instances[instances.scores >= np.float32(0.5)]
    expected = compare_instances(kept, record).score().ap
    assert curve.ap_now == pytest.approx(expected, abs=1e-12)


def test_best_confidence_of_each_class():
    """Class 0: a false cell of 0.40 beside a true one of 0.80; class 1: a true one of 0.30."""
    cell, other = disc(20, 30, 8), disc(60, 30, 8)
    first, second = annotated([cell]), annotated([cell], [1])
    found = predicted([cell, other], [0.8, 0.4]), predicted([cell], [0.3], [1])
    curves = [
        image_curve(compare_instances(found[0], first), found[0].scores, 0, 0.2),
        image_curve(compare_instances(found[1], second), found[1].scores, 1, 0.5),
    ]
    table = best_confidence(curves, CLASS_NAMES)
    assert table.loc["disc", ["mAP", "best threshold", "best mAP"]].tolist() == [0.5, 0.41, 1]
    assert table.loc["box", ["mAP", "best threshold", "best mAP"]].tolist() == [0, 0.3, 1]
    assert table.loc["all", ["mAP", "best mAP"]].tolist() == [0.25, 1]
    assert table["images"].tolist() == [1, 1, 2]
    assert table["threshold"].tolist()[:2] == [0.2, 0.5]
    precision, recall = precision_and_recall(curves)
    assert precision[0] == pytest.approx(2 / 3)
    assert recall[0] == 1
    assert CONFIDENCES[45] == 0.5  # finds one of the two, and nothing else
    assert (precision[45], recall[45]) == (1, 0.5)
    assert recall[-1] == 0
    assert np.isnan(precision[-1])


def test_thresholds_that_are_tried():
    assert len(CONFIDENCES) == 95
    assert CONFIDENCES[[0, -1]].tolist() == pytest.approx([0.05, 0.99])
    assert CONFIDENCES.dtype == np.float32
