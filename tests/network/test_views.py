"""Views of an ensemble: the image mirrored and at other scales, in the image's own frame."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import CLASS_NAMES

from network.detector import Detector
from network.ensemble import Ensemble, load_ensemble
from network.label_offset import moved_to_labels
from network.merging import PostProcessing
from network.tiling import TiledEnsemble
from utils.script import InputError
from utils.stages import StageTimer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def ensemble(untrained) -> Ensemble:
    return load_ensemble([untrained()], CPU, torch.float32)


def look(view, image) -> tuple:
    """Features and boxes."""
    (features,) = view.detector.features([view.prepare(image)])
    return features, view.boxes(features, view.detector.proposals(features))


def test_a_mirrored_view_answers_as_a_straight_one_that_sees_the_mirrored_image(ensemble, image):
    straight, mirrored = Ensemble([ensemble.views[0].detector], tta=["flip"]).views
    turned = np.ascontiguousarray(image[:, ::-1])
    features, expected = look(straight, turned)
    of_image, found = look(mirrored, image)
    x1, y1, x2, y2 = expected.boxes.T
    there = np.stack([120 - x2, y1, 120 - x1, y2], axis=1)
    np.testing.assert_allclose(found.boxes, there, atol=1e-3)
    np.testing.assert_array_equal(found.scores, expected.scores)
    masks = straight.mask_probabilities(features, expected)
    np.testing.assert_allclose(
        mirrored.mask_probabilities(of_image, replace(expected, boxes=there)),
        masks[:, :, ::-1],
        atol=1e-4,
    )
    assert np.abs(masks - masks[:, :, ::-1]).max() > 0.01


def told_offset(ensemble, offset) -> Detector:
    """The model with labels that lie beside the cells."""
    detector = copy.copy(ensemble.views[0].detector)
    detector.inference = {**detector.inference, "label_offset": offset}
    return detector


@pytest.mark.parametrize("tta", [(), ("flip",), ("scale",)])
@pytest.mark.parametrize("image_scale", [1.0, 0.5])
def test_boxes_lie_where_labels_would_and_masks_are_of_the_cells(ensemble, image, tta, image_scale):
    """In a mirrored view and at another scale, too; a training pixel is 1 / image_scale pixels."""
    plain = Ensemble([ensemble.views[0].detector], tta=tta).views[-1]
    moved = Ensemble([told_offset(ensemble, [2.0, -1.0])], tta=tta).views[-1]
    (features,) = plain.detector.features([plain.prepare(image, image_scale)])
    proposals = plain.detector.proposals(features)
    expected, found = plain.boxes(features, proposals), moved.boxes(features, proposals)
    inside = (expected.boxes > 0.1) & (expected.boxes < np.float32([119.9, 89.9] * 2))
    assert inside.any()
    shift = np.float32([2, -1, 2, -1]) / image_scale
    np.testing.assert_allclose(
        found.boxes, np.where(inside, expected.boxes + shift, expected.boxes), atol=0.05
    )
    clear = inside.all(axis=1)
    np.testing.assert_allclose(
        moved.mask_probabilities(features, found[clear]),
        plain.mask_probabilities(features, expected[clear]),
        atol=1e-3,
    )


def test_what_the_border_cuts_stays_at_the_border():
    boxes = np.float32([[0, 0, 5, 5], [3, 4, 120, 90], [3, 4, 119, 89]])
    moved = moved_to_labels(boxes, np.float32([1, -2]), (90, 120))
    assert moved.tolist() == [[0, 0, 6, 3], [4, 2, 120, 90], [4, 2, 120, 87]]
    assert moved.dtype == np.float32


def test_the_views_of_an_ensemble(ensemble):
    detector = ensemble.views[0].detector
    for tta, views in (
        ((), [(1.0, False)]),
        (("flip",), [(1.0, False), (1.0, True)]),
        (("scale",), [(1.0, False), (0.8, False), (1.25, False)]),
    ):
        both = Ensemble([detector, detector], tta=tta)
        assert [(view.zoom, view.flip) for view in both.views] == 2 * views


def test_what_an_ensemble_takes_from_its_models(ensemble):
    detector = ensemble.views[0].detector
    assert ensemble.class_names == CLASS_NAMES
    assert ensemble.device == CPU
    assert ensemble.grey_rule == detector.grey_rule
    assert ensemble.threshold_share == 1
    rules = PostProcessing({"default": 0.7})
    assert Ensemble([detector], rules).post_processing is rules
    assert Ensemble([detector]).post_processing.confidence == detector.inference["confidence"]


def test_thresholds_are_lowered_to_a_share_of_the_models_own(ensemble):
    lowered = Ensemble([ensemble.views[0].detector], PostProcessing({"disc": 0.8, "default": 0.4}))
    lowered.lower_thresholds(0.5)
    assert lowered.post_processing.confidence == {"disc": 0.4, "default": 0.2}
    lowered.lower_thresholds(0.5)
    assert lowered.threshold_share == 0.25


def test_one_threshold_for_all_classes(untrained):
    ensemble = load_ensemble([untrained()], CPU, torch.float32, score_thr=0.6)
    assert ensemble.post_processing.confidence == {"default": 0.6}
    assert len(ensemble.views) == 1


def test_the_same_classes_in_another_order_are_refused(untrained):
    with pytest.raises(InputError, match="not those of the first model"):
        load_ensemble([untrained(), untrained(names=CLASS_NAMES[::-1])], CPU, torch.float32)
    with pytest.raises(InputError, match="--weights"):
        load_ensemble([], CPU, torch.float32)


def test_an_image_of_one_tile_is_found_in_as_by_the_ensemble_alone(ensemble, image):
    timer = StageTimer()
    expected = ensemble.predict(image, timer)
    stages = {"prepare", "backbone", "RPN", "box head", "merge", "mask head", "paste", "mask NMS"}
    assert timer.seconds.keys() == stages
    tiled_timer = StageTimer()
    found = TiledEnsemble(ensemble).predict(image, tiled_timer)
    assert tiled_timer.seconds.keys() == stages | {"read"}
    assert len(found) > 0
    for field in ("boxes", "scores", "labels", "offsets", "agreement"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def area(ensemble: Ensemble, image: np.ndarray, mask_threshold: dict[str, float]) -> int:
    """Pixels that all masks have."""
    rules = PostProcessing({"default": 0.0}, mask_nms_iou=1.0, mask_threshold=mask_threshold)
    found = Ensemble([ensemble.views[0].detector], rules).predict(image)
    return sum(int((mask >= 0.5).sum()) for mask in found.masks)


def test_pixels_are_drawn_from_the_mask_threshold_on(ensemble, image):
    """What is drawn from a lower one on is more."""
    areas = [area(ensemble, image, {"default": threshold}) for threshold in (0.3, 0.5, 0.7)]
    assert areas[0] >= areas[1] >= areas[2]
    assert areas[0] > areas[2]


def test_the_deciding_class_has_a_mask_threshold_of_its_own(ensemble, image):
    deciding = CLASS_NAMES[ensemble.candidates(image, 0.0).deciding_class]
    others = {name: 0.7 for name in CLASS_NAMES if name != deciding}
    low = area(ensemble, image, {"default": 0.3})
    assert area(ensemble, image, {**others, deciding: 0.3, "default": 0.7}) == low
    assert area(ensemble, image, {**others, "default": 0.3}) == low
    assert area(ensemble, image, {deciding: 0.7, "default": 0.3}) < low


def test_the_deciding_class_is_that_of_all_detections(ensemble, image):
    """Also where its boxes do not reach the threshold."""
    detector = ensemble.views[0].detector
    everything = Ensemble([detector], PostProcessing({"default": 0.0})).candidates(image)
    name = CLASS_NAMES[everything.deciding_class]
    nothing = Ensemble([detector], PostProcessing({name: 1.0, "default": 0.0})).candidates(image)
    assert (nothing.deciding_class, nothing.threshold) == (everything.deciding_class, 1.0)
    assert len(nothing.instances) == 0
