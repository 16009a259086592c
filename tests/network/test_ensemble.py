"""The ensemble: merging, averaging and thresholds against known answers; several models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import DATA

from cells.instances import Boxes
from network.ensemble import load_ensemble, mean_rules
from network.merging import (
    PostProcessing,
    filter_by_confidence,
    mean_masks,
    merge_boxes,
    vote,
)
from utils.script import InputError

CPU = torch.device("cpu")


def boxes_of(*rows: tuple[float, ...]) -> Boxes:
    """Rows of x1, y1, x2, y2, score, label."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


@pytest.mark.parametrize(
    ("name", "iou", "cap"), [("merge_out", 0.99, 10_000), ("merge07cap20_out", 0.7, 20)]
)
def test_merge_equals_the_original_solution(name, iou, cap):
    ops = np.load(DATA / "d2_ensemble_ops.npz")
    given = Boxes(ops["merge_in_boxes"], ops["merge_in_scores"], ops["merge_in_classes"])
    parts = [given[:30], given[30:]]
    merged = merge_boxes(parts, tuple(ops["merge_canvas_hw"]), iou, cap)
    np.testing.assert_allclose(merged.boxes, ops[f"{name}_boxes"], atol=1e-4)
    np.testing.assert_array_equal(merged.scores, ops[f"{name}_scores"])
    np.testing.assert_array_equal(merged.labels, ops[f"{name}_classes"])


def test_merge_by_hand():
    first = boxes_of((0, 0, 10, 10, 0.6, 0), (0, 0, 10, 10, 0.5, 1), (-5, 0, 5, 10, 0.4, 0))
    second = boxes_of((0, 0, 10, 10, 0.9, 0), (30, 0, 40, 10, 0.8, 0), (3, 3, 3, 9, 0.7, 0))
    merged = merge_boxes([first, second], (20, 20))
    # duplicate of class 0 gone, class 1 kept, clipped, outside and without width gone
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5, 0.4])
    assert merged.boxes[2].tolist() == [0, 0, 5, 10]


def test_merge_of_nothing():
    assert len(merge_boxes([boxes_of(), boxes_of()], (20, 20))) == 0


def test_boxes_around_a_kept_one_move_it_by_their_scores():
    kept = boxes_of((0, 0, 10, 10, 0.6, 0), (50, 50, 60, 60, 0.5, 1))
    others = boxes_of(
        (0, 0, 10, 12, 0.3, 0),  # IoU 10 / 12
        (0, 0, 10, 16, 0.3, 0),  # IoU 10 / 16: too little
        (0, 0, 10, 12, 0.3, 1),  # of another class
        (20, 20, 30, 30, 0.9, 0),
    )
    voted = vote(kept, Boxes.concatenate([kept, others]), 0.7)
    expected = [[0, 0, 10, (0.6 * 10 + 0.3 * 12) / 0.9], [50, 50, 60, 60]]
    np.testing.assert_allclose(voted.boxes, expected, rtol=1e-6)
    np.testing.assert_array_equal(voted.scores, kept.scores)
    np.testing.assert_array_equal(voted.labels, kept.labels)
    assert kept.boxes[0, 3] == 10  # the argument stays as it was


def test_votes_are_the_same_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    low, extent = rng.uniform(0, 20, (60, 2)), rng.uniform(10, 30, (60, 2))
    table = np.column_stack([low, low + extent, rng.uniform(0.1, 1, 60), rng.integers(0, 2, 60)])
    voters = boxes_of(*table)
    expected = vote(voters[::2], voters, 0.4)
    assert (expected.boxes != voters[::2].boxes).any(axis=1).mean() > 0.5
    monkeypatch.setattr("network.box_pairs.BLOCK", 100)
    np.testing.assert_allclose(vote(voters[::2], voters, 0.4).boxes, expected.boxes, rtol=1e-6)


def test_nothing_to_vote_on():
    assert len(vote(boxes_of(), boxes_of(), 0.5)) == 0
    assert len(vote(boxes_of(), boxes_of((0, 0, 1, 1, 0.5, 0)), 0.5)) == 0


def test_mean_masks_equals_the_original_solution():
    ops = np.load(DATA / "d2_ensemble_ops.npz")
    grids = [ops["maskmean_a"][:, 0], ops["maskmean_b"][:, 0]]
    np.testing.assert_allclose(np.mean(grids, axis=0), ops["maskmean_out"][:, 0], atol=1e-7)
    keep = ops["paste_out_index"]
    boxes = Boxes(ops["paste_out_boxes"], np.ones(len(keep)), np.zeros(len(keep), np.int64))
    instances = mean_masks(boxes, [grid[keep] for grid in grids], (120, 160))
    areas = [int((mask >= 0.5).sum()) for mask in instances.masks]
    assert areas == ops["paste_out_area"].tolist()


def test_mean_of_masks_of_different_resolution():
    boxes = boxes_of((2, 2, 10, 10, 0.9, 0))
    grids = [np.full((1, 28, 28), 0.9, np.float32), np.full((1, 14, 14), 0.3, np.float32)]
    instances = mean_masks(boxes, grids, (20, 20))
    inside = instances.masks[0][2:-2, 2:-2]
    np.testing.assert_allclose(inside, 0.6, atol=1e-6)


def test_the_dominant_class_decides_for_all():
    boxes = boxes_of((0, 0, 1, 1, 0.6, 1), (0, 0, 2, 2, 0.3, 1), (0, 0, 3, 3, 0.5, 0))
    kept = filter_by_confidence(boxes, ("a", "b"), {"a": 0.9, "b": 0.5, "default": 0.0})
    assert kept.scores.tolist() == pytest.approx([0.6, 0.5])


def test_unknown_class_names_take_the_default_threshold():
    boxes = boxes_of((0, 0, 1, 1, 0.6, 0), (0, 0, 2, 2, 0.3, 0))
    assert len(filter_by_confidence(boxes, ("new",), {"a": 0.9, "default": 0.5})) == 1


def test_a_score_of_exactly_the_threshold_counts():
    boxes = boxes_of((0, 0, 1, 1, 0.6, 0), (0, 0, 2, 2, 0.3, 0), (0, 0, 2, 2, 0.2, 0))
    for least, expected in ((np.inf, [0.6]), (0.9, [0.6]), (0.3, [0.6, 0.3])):
        kept = filter_by_confidence(boxes, ("a",), {"default": 0.6}, least)
        assert kept.scores.tolist() == pytest.approx(expected)


def test_candidates_are_those_of_a_lower_threshold(untrained, image):
    """What a threshold leaves of the candidates is what the ensemble finds with that threshold."""
    ensemble = load_ensemble([untrained()], CPU, torch.float32)
    lowest = ensemble.predict(image).scores.min()
    confidence = {"default": 1.0} | dict.fromkeys(ensemble.class_names, 0.9)
    ensemble.post_processing = PostProcessing(confidence)
    assert len(ensemble.predict(image)) == 0
    candidates = ensemble.candidates(image, least_score=float(lowest))
    assert candidates.threshold == 0.9
    assert len(candidates.kept) == 0
    for threshold in (float(lowest), float(np.median(candidates.instances.scores))):
        ensemble.post_processing = PostProcessing({"default": threshold})
        expected = ensemble.predict(image)
        found = replace(candidates, threshold=threshold).kept
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert len(expected) < len(candidates.instances)


def features_of(view, image):
    (features,) = view.detector.features([view.prepare(image)])
    return features


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)


def test_one_model_alone_and_with_itself_agree(untrained, image):
    path = untrained()
    alone = load_ensemble([path], CPU, torch.float32).predict(image)
    twice = load_ensemble([path, path], CPU, torch.float32).predict(image)
    assert len(alone) > 0
    np.testing.assert_allclose(alone.boxes, twice.boxes, atol=1e-4)
    for mask, other in zip(alone.masks, twice.masks, strict=True):
        np.testing.assert_allclose(mask, other, atol=1e-5)


def test_models_of_different_architecture(untrained, image):
    paths = [untrained("tiny_resnest"), untrained("tiny_cascade")]
    ensemble = load_ensemble(paths, CPU, torch.float32)
    both = ensemble.predict(image)
    assert len(both) > 0
    assert (np.diff(both.scores) <= 0).all()
    # each instance's mask is the mean of what the two models say about its box
    chosen = Boxes(both.boxes, both.scores, both.labels)
    grids = [v.mask_probabilities(features_of(v, image), chosen) for v in ensemble.views]
    expected = mean_masks(chosen, grids, image.shape[:2])
    for mask, other in zip(both.masks, expected.masks, strict=True):
        np.testing.assert_allclose(mask, other, atol=1e-5)


def test_boxes_of_all_models_vote(untrained, image):
    ensemble = load_ensemble([untrained(), untrained(seed=1)], CPU, torch.float32)
    parts = []
    for view in ensemble.views:
        features = features_of(view, image)
        parts.append(view.boxes(features, view.detector.proposals(features)))
    kept = merge_boxes(parts, image.shape[:2], 0.7)
    expected = vote(kept, Boxes.concatenate(parts), 0.2)
    assert (np.abs(expected.boxes - kept.boxes) > 0.1).any()
    rules = replace(ensemble.post_processing, box_nms_iou=0.7, box_voting_iou=0.2, mask_nms_iou=1)
    ensemble.post_processing = rules
    found = ensemble.predict(image)
    assert len(found) > 0
    for box, score in zip(found.boxes, found.scores, strict=True):
        own = expected.boxes[expected.scores == score]
        assert np.abs(own - box).max(axis=1).min() < 1e-3


def test_backbones_run_once_per_view(untrained, image):
    ensemble = load_ensemble([untrained(), untrained(seed=1)], CPU, torch.float32, tta=("flip",))
    calls = []
    for view in ensemble.views[::2]:
        view.detector.model.backbone.register_forward_hook(lambda *_: calls.append(1))
    ensemble.predict(image)
    assert len(calls) == 4  # two models, each straight and mirrored


def test_views_at_other_scales_answer_in_pixels_of_the_image(untrained, image):
    ensemble = load_ensemble([untrained()], CPU, torch.float32, tta=("flip", "scale"))
    assert [(view.zoom, view.flip) for view in ensemble.views] == [
        (zoom, flip) for zoom in (1.0, 0.8, 1.25) for flip in (False, True)
    ]
    sizes = [view.prepare(image).img_meta["img_shape"][:2] for view in ensemble.views]
    assert sizes[::2] == [(90, 120), (72, 96), (112, 150)]
    smaller = ensemble.views[2]
    features = features_of(smaller, image)
    alone = smaller.detector.features([smaller.detector.prepare(image, 0.8)])[0]
    expected = smaller.detector.boxes(alone, smaller.detector.proposals(alone))
    found = smaller.boxes(features, smaller.detector.proposals(features))
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    assert found.boxes[:, 2].max() > 100  # not the 96 pixels of the network's input
    assert len(ensemble.predict(image)) > 0


def test_nothing_found(untrained, image):
    nothing = load_ensemble([untrained()], CPU, torch.float32, score_thr=1.0).predict(image)
    assert len(nothing) == 0
    assert nothing.image_size == (90, 120)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (33, 32), (500, 20)])
def test_images_of_any_size(untrained, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    instances = load_ensemble([untrained()], CPU, torch.float32).predict(image)
    for mask, (x, y) in zip(instances.masks, instances.offsets, strict=True):
        assert 0 <= x <= x + mask.shape[1] <= shape[1]
        assert 0 <= y <= y + mask.shape[0] <= shape[0]


def test_different_class_names_are_refused(untrained):
    with pytest.raises(InputError, match="not those of the first model"):
        load_ensemble([untrained(), untrained(names=("x", "y", "z"))], CPU, torch.float32)


def test_thresholds_of_several_models_are_averaged():
    class Model:
        def __init__(self, mask: dict, **confidence):
            self.inference = {"confidence": confidence, **mask}

    masks = {"b": 0.3, "default": 0.6}
    one, other = Model({"mask_threshold": masks}, a=0.4, default=0.5), Model({}, default=0.8)
    rules = mean_rules([one, other])
    assert rules.confidence == pytest.approx({"a": 0.6, "default": 0.65})
    assert rules.mask_threshold == pytest.approx({"b": 0.4, "default": 0.55})
    one_for_all = Model({"mask_threshold": 0.4}, default=0.5)  # as older checkpoints have it
    assert mean_rules([one_for_all]).mask_threshold == {"default": 0.4}
    assert (rules.mask_nms_iou, rules.box_nms_iou) == (0.1, 0.99)


def test_boxes_vote_where_every_model_says_so():
    class Model:
        def __init__(self, **inference):
            self.inference = {"confidence": {"default": 0.5}, **inference}

    both = [
        Model(box_merging={"nms_iou": nms, "voting_iou": iou})
        for nms, iou in ((0.6, 0.4), (0.7, 0.6))
    ]
    rules = mean_rules(both)
    assert (rules.box_nms_iou, rules.box_voting_iou) == pytest.approx((0.65, 0.5))
    for other in (Model(), Model(box_merging={"nms_iou": 0.9, "voting_iou": None})):
        rules = mean_rules([other, both[0]])
        assert (rules.box_nms_iou, rules.box_voting_iou) == (0.99, None)
