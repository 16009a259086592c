"""PointRend, Swin and GCNet beside the others: masks by their own rule, in one ensemble."""

from __future__ import annotations

import json

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pytest
import torch
from mmcv.ops import point_sample
from mmcv.ops.point_sample import rel_roi_point_to_rel_img_point
from mmdet.models.backbones.swin import WindowMSA
from torch import nn

from network.checkpoints import load_checkpoint, load_weights
from network.detector import Detector
from network.ensemble import load_ensemble
from network.mask_heads import mask_probabilities
from network.models import build_model
from network.window_attention import window_attention
from training.crop_masks import CropMasks

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).integers(0, 255, (70, 110, 3), dtype=np.uint8)
BOXES = np.array([[5, 6, 60, 40], [30.5, 8, 44, 33.25], [2, 2, 5, 5]], np.float32)
LABELS = np.array([2, 0, 1])


def test_point_rend_masks_are_mmdets(untrained, monkeypatch):
    """Those that its own `simple_test_mask` pastes, refined point by point."""
    checkpoint = load_checkpoint(untrained("tiny_point_rend"))
    model = build_model(json.loads(checkpoint["meta"]["model"])).eval()
    load_weights(model, checkpoint["state_dict"], "x")
    detector = Detector(model, json.loads(checkpoint["meta"]["inference"]), "abc", CPU)
    (features,) = detector.features([detector.prepare(IMAGE)])
    ours = detector.mask_probabilities(features, BOXES, LABELS)
    assert ours.shape == (3, 56, 56)
    pasted = []
    monkeypatch.setattr(
        model.roi_head.mask_head, "get_seg_masks", lambda masks, *_: pasted.append(masks)
    )
    with torch.no_grad():
        model.roi_head.simple_test_mask(
            features.maps,
            [features.source.img_meta],
            [torch.from_numpy(BOXES)],
            [torch.from_numpy(LABELS)],
            rescale=True,
        )
    theirs = pasted[0][range(3), LABELS].sigmoid().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_head_without_a_rule_is_not_guessed_at():
    with pytest.raises(NotImplementedError, match="Identity: no rule"):
        mask_probabilities(nn.Identity(), [], torch.zeros(0, 5), torch.zeros(0))


@pytest.mark.parametrize("name", ["tiny_point_rend", "tiny_swin", "tiny_gcnet"])
def test_each_joins_an_ensemble_with_a_resnest(untrained, name):
    """Masks of other sizes, features of other strides, and in bfloat16 nearly the same."""
    both = load_ensemble([untrained(name), untrained("tiny_resnest")], CPU, torch.float32)
    found = both.candidates(IMAGE).instances
    assert len(found) > 0
    assert all(np.isfinite(mask).all() for mask in found.masks)
    rough = load_ensemble([untrained(name)], CPU, torch.bfloat16)
    masks = []
    for ensemble, index in ((both, 0), (both, 1), (rough, 0)):
        detector = ensemble.views[index].detector
        (features,) = detector.features([detector.prepare(IMAGE)])
        assert detector.boxes(features, detector.proposals(features)).boxes.dtype == np.float32
        masks.append(detector.mask_probabilities(features, BOXES, LABELS))
    assert masks[0].shape[1] == (56 if name == "tiny_point_rend" else 28)
    assert masks[1].shape[1] == 28
    assert np.abs(masks[0] - masks[2]).mean() < 0.02


@pytest.mark.parametrize("masked", [False, True])
def test_window_attention_is_mmdets(masked):
    torch.manual_seed(0)
    theirs = WindowMSA(12, 3, (4, 4)).eval()
    nn.init.normal_(theirs.relative_position_bias_table)
    x = torch.randn(2 * 5, 16, 12)
    mask = torch.where(torch.rand(5, 16, 16) < 0.3, -100.0, 0.0) if masked else None
    torch.testing.assert_close(window_attention(theirs, x, mask), theirs(x, mask))
    theirs.bfloat16()
    assert window_attention(theirs, x.bfloat16(), mask).dtype == torch.bfloat16


def test_targets_of_points_are_those_of_full_frames():
    generator = np.random.default_rng(1)
    crops = [(generator.random(size) < 0.6).astype(np.uint8) for size in ((9, 7), (1, 1), (20, 30))]
    masks = CropMasks(crops, np.array([[3, 4], [39, 19], [5, 0]]), 20, 40)
    rois = torch.tensor([[0, 2.5, 3, 12, 15], [0, 30, 10, 40, 20], [0, 0, 0, 40, 20.0]])
    points = torch.rand(3, 50, 2)
    frames = torch.from_numpy(masks.to_ndarray()).float()[:, None]
    expected = point_sample(frames, rel_roi_point_to_rel_img_point(rois, points, frames))[:, 0]
    absolute = rois[:, None, 1:3] + points * (rois[:, None, 3:] - rois[:, None, 1:3])
    found = masks.sample(absolute.numpy(), np.arange(3))
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-2)  # cv2 interpolates in 1/32
