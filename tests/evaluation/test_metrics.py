"""The competition's metric against reference numbers and shapes whose IoU is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from discs import SIZE, annotated, disc, predicted, random_case
from helpers import CLASS_NAMES, DATA

from cells.instances import Instances
from cells.masks import label_image
from cells.rle import encode, rle_iou
from evaluation.metrics import (
    IOU_THRESHOLDS,
    ImageScore,
    compare_instances,
    count_matches,
    image_result,
    iou_with_label_image,
    per_image_table,
    score_image,
    summarise,
)
from network.merging import mask_nms

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


def test_an_iou_of_exactly_a_higher_threshold_is_no_match():
    labels = strip(0, 75).astype(np.int32)
    score = score_image(labels, 1, [encode(strip(0, 100))])
    assert score.tp.tolist() == [1] * 5 + [0] * 5  # 0.50 ... 0.70


def test_half_a_prediction_in_a_crowd_region_counts():
    for width, false in ((10, 1), (11, 0)):
        labels = strip(0, 20).astype(np.int32)
        score = score_image(labels, 1, [], [encode(strip(20 - width, 60))])
        assert score.fp.tolist() == [false] * 10


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
    score = score_image(labels, 2, [encode(strip(0, 9))], [encode(strip(30, 90))])
    assert score.tp.tolist() == [1] * 10
    assert not score.fp.any()
    assert not score.fn.any()


@pytest.mark.parametrize("cells", [0, 3, 300])
def test_iou_equals_pycocotools(cells):
    record, instances = random_case(0, cells)
    labels = label_image(instances)
    resolved = [encode(labels == i + 1) for i in range(len(instances))]
    iou = iou_with_label_image(labels, len(instances), record.rles)
    np.testing.assert_array_equal(iou, rle_iou(resolved, record.rles))


@pytest.mark.parametrize("shift", [2, 10, 22, 40, 55])
def test_shifted_disc(shift):
    """Discs of radius r at distance d share 2 r^2 acos(d / 2r) - d / 2 sqrt(4 r^2 - d^2)."""
    radius, size = 90, (200, 300)
    masks = [disc(x, 100, radius, size) for x in (100, 100 + shift)]
    common = 2 * radius**2 * np.arccos(shift / 2 / radius)
    common -= shift / 2 * np.sqrt(4 * radius**2 - shift**2)
    iou = common / (2 * np.pi * radius**2 - common)
    assert np.abs(iou - IOU_THRESHOLDS).min() > 0.002, "too near to a threshold for pixels"
    score = score_image(masks[1].astype(np.int32), 1, [encode(masks[0])])
    np.testing.assert_array_equal(score.tp, iou > IOU_THRESHOLDS)
    assert score.ap == pytest.approx((iou > IOU_THRESHOLDS).mean())


def test_of_overlapping_predictions_the_better_one_gets_the_pixels():
    left, right = disc(30, 30, 10), disc(38, 30, 10)
    truth = annotated([left, right & ~left])
    for scores, expected in (((0.9, 0.8), 1.0), ((0.8, 0.9), 0.0)):
        result = image_result(truth, compare_instances(predicted([left, right], scores), truth))
        assert (result.score.ap == 1.0) == (expected == 1.0)


def test_each_type_is_averaged_over_its_own_images():
    cell = disc(30, 30, 9)
    records = [
        annotated([cell], [0], image_id="found"),
        annotated([cell], [0], image_id="missed"),
        annotated([cell, disc(60, 40, 5)], [2, 2], image_id="half"),
        annotated([], image_id="empty"),
    ]
    answers = [[cell], [], [cell], []]
    results = [
        image_result(record, compare_instances(predicted(masks), record))
        for record, masks in zip(records, answers, strict=True)
    ]
    table = summarise(results, CLASS_NAMES)
    assert list(table.index) == ["disc", "bar", "all"]
    assert table["mAP"].tolist() == pytest.approx([0.5, 0.5, (1 + 0 + 0.5 + 1) / 4])
    assert table["images"].tolist() == [2, 1, 4]
    assert table["cells"].tolist() == [2, 2, 4]
    assert table.loc["all", ["TP", "FP", "FN"]].tolist() == [2, 0, 2]
    assert table["recall"].tolist() == pytest.approx([0.5, 0.5, 0.5])
    assert table.loc["all", ["AP50", "AP75"]].tolist() == pytest.approx([0.625, 0.625])
    per_image = per_image_table(results, CLASS_NAMES)
    assert per_image["AP"].tolist() == [1, 0, 0.5, 1]
    assert per_image["cell_type"].tolist() == ["disc", "disc", "bar", ""]


@pytest.mark.parametrize(
    ("width", "ap", "ap75"),
    [(13, 0.1, 0), (17, 0.4, 0), (19, 0.6, 1)],  # IoU 0.52, 0.68, 0.76
)
def test_columns_of_one_image(width, ap, ap75):
    whole, part = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    whole[10:14, 20:45] = part[10:14, 20 : 20 + width] = True
    truth = annotated([whole])
    result = image_result(truth, compare_instances(predicted([part]), truth))
    row = per_image_table([result], CLASS_NAMES).iloc[0]
    assert [row[name] for name in ("AP", "AP50", "AP75")] == pytest.approx([ap, 1, ap75])
    assert [row[name] for name in ("cells", "predictions", "TP", "FP", "FN")] == [1, 1, 1, 0, 0]


def test_an_image_without_cells_and_predictions_has_neither_precision_nor_recall():
    nothing = annotated([])
    row = summarise([image_result(nothing, compare_instances(predicted([]), nothing))], CLASS_NAMES)
    assert row.loc["all", ["precision", "recall"]].isna().all()
