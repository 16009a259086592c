"""The competition's metric against reference numbers and shapes whose IoU is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import DATA

from cells.instances import Instances
from cells.masks import encode, label_image, mask_nms, rle_iou
from evaluation.metrics import IOU_THRESHOLDS, ImageScore, count_matches, mean_ap, score_image

EXPECTED = json.loads((DATA / "expected.json").read_text())["metric"]


@pytest.fixture(scope="module")
def reference():
    data = np.load(DATA / "instances.npz")
    truth = np.unpackbits(data["gt_masks"], axis=-1)[..., : data["gt_shape"][2]]
    probabilities = list(data["mask_probs"] / np.float32(65535))
    count = len(probabilities)
    predictions = Instances(
        image_size=data["image"].shape,
        boxes=data["boxes"],
        scores=data["scores"],
        labels=np.zeros(count, np.int64),
        masks=probabilities,
        offsets=np.zeros((count, 2), np.int64),
    )
    return predictions, [encode(mask) for mask in truth]


def check(score: ImageScore, expected: dict) -> None:
    assert score.ap == pytest.approx(expected["AP"], abs=1e-12)
    for i, threshold in enumerate(IOU_THRESHOLDS):
        row = expected["per_threshold"][f"{threshold:g}"]
        counts = score.tp[i], score.fp[i], score.fn[i]
        assert counts == (row["TP"], row["FP"], row["FN"])
        assert score.precisions[i] == pytest.approx(row["AP"], abs=1e-12)


def test_reference_with_overlaps_resolved(reference):
    predictions, truth = reference
    check(score_image(label_image(predictions), 64, truth), EXPECTED["all_resolved"])


def test_reference_left_overlapping(reference):
    predictions, truth = reference
    rles = [encode(mask >= 0.5) for mask in predictions.masks]
    check(count_matches(rle_iou(rles, truth)), EXPECTED["all_overlapping"])


def test_reference_after_mask_nms(reference):
    predictions, truth = reference
    kept = predictions[mask_nms(predictions, 0.1)]
    score = score_image(label_image(kept), len(kept), truth)
    check(score, EXPECTED["after_mask_nms_0_1_resolved"])


def strip(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((4, 100), bool)
    mask[1, start:stop] = True
    return mask


@pytest.mark.parametrize("shift", [0, 5, 10, 20, 30])
def test_shifted_strip(shift):
    """A strip of 60 pixels moved by s has IoU (60 - s) / (60 + s)."""
    labels = strip(shift, 60 + shift).astype(np.int32)
    score = score_image(labels, 1, [encode(strip(0, 60))])
    hits = (60 - shift) / (60 + shift) > IOU_THRESHOLDS
    np.testing.assert_array_equal(score.tp, hits)
    np.testing.assert_array_equal(score.fp, ~hits)
    np.testing.assert_array_equal(score.fn, ~hits)
    assert score.ap == pytest.approx(hits.mean())


def test_an_iou_of_exactly_the_threshold_is_no_match():
    labels = strip(0, 50).astype(np.int32)
    score = score_image(labels, 1, [encode(strip(0, 100))])
    assert score.tp[0] == 0


def test_nothing_at_all_is_perfect_and_only_one_side_is_zero():
    empty, one = np.zeros((4, 100), np.int32), strip(0, 9).astype(np.int32)
    assert score_image(empty, 0, []).ap == 1.0
    assert score_image(one, 1, []).ap == 0.0
    assert score_image(empty, 0, [encode(strip(0, 9))]).ap == 0.0


def test_a_mask_that_overlaps_emptied_is_a_false_positive():
    labels = strip(0, 9).astype(np.int32)  # prediction 2 lies wholly under prediction 1
    score = score_image(labels, 2, [encode(strip(0, 9))])
    assert score.tp.tolist() == [1] * 10
    assert score.fp.tolist() == [1] * 10


def test_crowd_regions_are_neither_found_nor_missed():
    labels = strip(0, 9).astype(np.int32) + 2 * strip(40, 50)
    truth = [encode(strip(0, 9)), encode(strip(30, 90))]
    score = score_image(labels, 2, truth, np.array([False, True]))
    assert score.tp.tolist() == [1] * 10
    assert not score.fp.any()
    assert not score.fn.any()


def test_mean_over_images():
    perfect = score_image(np.zeros((4, 4), np.int32), 0, [])
    missed = score_image(np.zeros((4, 100), np.int32), 0, [encode(strip(0, 9))])
    assert mean_ap([perfect, missed, missed, missed]) == 0.25
