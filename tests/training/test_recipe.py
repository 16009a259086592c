"""What the recipe does to images, weights and losses, in small."""

from __future__ import annotations

from types import SimpleNamespace

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
import pytest
import torch
from helpers import CONFIGS, ROOT, write_shapes
from pycocotools import mask as coco_mask
from torch import nn

from cells.annotations import load_annotations
from cells.rle import rle_crop
from network.checkpoints import describe_model, save_checkpoint
from network.models import build_model
from network.roi_heads import CrossEntropyDiceLoss, _divide_gradient, _fewer_positives
from network.scale import network_scale
from training import transforms
from training.config import load_config, training_pipeline
from training.crop_masks import CropMasks
from training.hooks import AverageHook
from training.initial_weights import start_from
from training.runner import parameter_groups
from training.statistics import describe_data
from training.transforms import RandomWarp, ResizeToNetwork
from utils.device import seed_everything
from utils.script import InputError

SLIM = ROOT / "configs" / "mask_rcnn_resnest50_slim.py"


@pytest.mark.parametrize("side", [256, 520, 1024, 4000])
def test_training_varies_the_scale_that_inference_uses(side):
    """The same field on a camera of more pixels: the pictures of the network stay the same."""
    config = load_config(str(SLIM))
    short = config.inference.short_side
    config.inference.scale = network_scale(config.inference, (side, round(side * 704 / 520)))
    assert config.inference.scale == pytest.approx(short / side, rel=0.01)
    steps = {step["type"]: step for step in training_pipeline(with_statistics(config))}
    warp = RandomWarp(**{k: v for k, v in steps["RandomWarp"].items() if k != "type"})
    seed_everything(0)
    scales = [np.sqrt(abs(np.linalg.det(warp._matrix((side, side))[:, :2]))) for _ in range(200)]
    relative = np.array(scales) / config.inference.scale
    assert 0.8 <= relative.min() < 0.85 and 1.2 < relative.max() <= 1.25
    assert np.exp(np.log(relative).mean()) == pytest.approx(1, abs=0.03)


def with_statistics(config):
    config.inference.update(pixel_mean=[90.0] * 3, pixel_std=[20.0] * 3)
    return config


def test_augmentation_is_told_the_data_s_grey_values():
    config = with_statistics(load_config(str(SLIM)))
    config.inference.scale = 1.6
    steps = {step["type"]: step for step in training_pipeline(config)}
    assert steps["RandomWarp"]["fill"] == 90
    assert (steps["RandomIntensity"]["mean"], steps["RandomIntensity"]["std"]) == (90, 20)
    assert steps["Normalize"]["mean"] == [90] * 3


def test_windows_fall_everywhere():
    """A window of a quarter of the image: borders and corners are seen, and not only the centre."""
    warp = RandomWarp(size=(100, 100), network_scale=1.0, scale=(1.0, 1.0), rotate=False)
    seed_everything(0)
    spots = np.array([[1, 1], [100, 1], [100, 100], [198, 198]]) + 0.5
    seen = np.zeros(len(spots))
    for _ in range(1000):
        moved = warp._matrix((200, 200)) @ np.vstack([spots.T, np.ones(len(spots))])
        seen += ((moved > 0) & (moved < 100)).all(axis=0)
    corner, border, centre, other_corner = seen / 1000
    assert corner == pytest.approx(0.06, abs=0.04) and other_corner == pytest.approx(
        corner, abs=0.04
    )
    assert 0.1 < border < 0.4
    assert 0.4 < centre < 0.95


def test_solution_s_crops_get_the_size_of_the_whole_image():
    crop = np.zeros((80, 90, 3), np.uint8)
    masks = CropMasks([np.ones((8, 9), np.uint8)], np.array([[10, 20]]), 80, 90)
    boxes = np.array([[10, 20, 19, 28]], np.float32)
    sample = dict(img=crop, ori_shape=(100, 120, 3), gt_masks=masks, gt_bboxes=boxes)
    sample["bbox_fields"] = ["gt_bboxes"]
    found = ResizeToNetwork(network_scale=2.0)(sample)
    assert found["img"].shape == (200, 225, 3)  # 2 * 100 / 80
    np.testing.assert_allclose(found["gt_bboxes"], [[25, 50, 47.5, 70]])
    np.testing.assert_allclose(found["gt_masks"].get_bboxes(), found["gt_bboxes"], atol=1)


def test_only_cells_near_the_window_are_decoded(monkeypatch):
    """Of 900 cells in 3000 x 3000 pixels, a window of 200 needs a handful."""
    decoded = []

    def counting(rle: dict) -> tuple:
        decoded.append(rle)
        return rle_crop(rle)

    monkeypatch.setattr(transforms, "rle_crop", counting)
    record = crowded_record(side=3000, step=100)
    sample = transforms.LoadCellAnnotations()(
        {"record": record, "img": np.full((3000, 3000, 3), 128, np.uint8)}
    )
    seed_everything(3)
    warp = RandomWarp(size=(200, 200), network_scale=1.0, rotate=False)
    boxes = warp(sample)["gt_bboxes"]
    assert 1 <= len(boxes) <= len(decoded) < 60


def crowded_record(side: int, step: int) -> SimpleNamespace:
    """A record with a square of 40 pixels every `step` pixels."""
    corners = [(x, y) for x in range(20, side, step) for y in range(20, side, step)]
    columns = [40, side - 40] * 39
    rles = [
        coco_mask.frPyObjects(
            {
                "size": [side, side],
                "counts": [x * side + y, *columns, 40, side * (side - x - 39) - y - 40],
            },
            side,
            side,
        )
        for x, y in corners
    ]
    boxes = np.array([(x, y, x + 40, y + 40) for x, y in corners], np.float32)
    return SimpleNamespace(
        rles=rles,
        boxes=boxes,
        labels=np.zeros(len(rles), np.int64),
        iscrowd=np.zeros(len(rles), bool),
        image_size=(side, side),
    )


def test_grey_values_scale_and_diameters_come_from_the_data(tmp_path):
    shapes = write_shapes(tmp_path / "data", 3, 1)
    data = load_annotations(shapes / "annotations/annotations_train_0.json", shapes / "images")
    inference = dict(short_side=192, long_side=400, pixel_mean=None, pixel_std=None)
    found = describe_data(inference, data.images, data.class_names)
    assert found["scale"] == 2 and found["field"] == [96, 128]
    assert 115 < found["pixel_mean"][0] < 145 and 15 < found["pixel_std"][0] < 70
    assert set(found["cell_diameter"]) == {"disc", "box", "bar", "default"}
    assert 15 < found["cell_diameter"]["disc"] < 26
    fixed = describe_data(found | dict(pixel_mean=[1.0] * 3, pixel_std=[2.0] * 3), data.images, ())
    assert fixed["pixel_mean"] == [1.0] * 3 and fixed["pixel_std"] == [2.0] * 3


def test_norms_and_biases_do_not_decay():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    decaying, others = parameter_groups(model, 0.05)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.05, 0)
    assert [value.shape for value in decaying["params"]] == [(3, 2, 3, 3)]
    assert len(others["params"]) == 3


def test_average_follows_the_weights():
    model = nn.BatchNorm1d(1)
    hook = AverageHook(model, decay=0.9)

    class Runner:
        iter = 1000

    with torch.no_grad():
        model.weight.fill_(2.0)
    model.num_batches_tracked += 5
    hook.after_train_iter(Runner)
    assert hook.average["weight"].item() == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert hook.average["num_batches_tracked"] == 5
    Runner.iter = 0  # at first it follows quickly
    hook.after_train_iter(Runner)
    assert hook.average["weight"].item() == pytest.approx(0.1 * 1.1 + 0.9 * 2)


def test_mask_loss_of_known_masks():
    target = torch.zeros(2, 4, 4)
    target[:, :2] = 1
    right, wrong = 20 * (2 * target - 1), 20 * (1 - 2 * target)
    label = torch.zeros(2, dtype=torch.int64)
    loss = CrossEntropyDiceLoss()
    assert loss(right[:, None], target, label).item() == pytest.approx(0, abs=1e-5)
    assert loss(wrong[:, None], target, label).item() == pytest.approx(20 + 1, abs=1e-3)
    assert CrossEntropyDiceLoss(dice_weight=0.0)(wrong[:, None], target, label).item() == (
        pytest.approx(20, abs=1e-3)
    )


def test_each_stage_of_a_cascade_sends_its_share_of_the_gradient():
    x = torch.ones(3, requires_grad=True)
    pooled = 2 * x
    _divide_gradient(4, nn.Identity(), (), pooled)
    pooled.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 0.5))


def test_the_mask_head_learns_from_some_of_the_positive_regions():
    class Result:
        pos_bboxes = torch.arange(40.0).view(10, 4)
        pos_assigned_gt_inds = torch.arange(10)
        pos_gt_labels = torch.arange(10) % 3

    fewer = _fewer_positives(Result(), 4)
    assert len(fewer.pos_bboxes) == len(fewer.pos_assigned_gt_inds) == len(fewer.pos_gt_labels) == 4
    np.testing.assert_array_equal(fewer.pos_bboxes[:, 0] / 4, fewer.pos_assigned_gt_inds)
    assert _fewer_positives(Result(), 10).pos_bboxes is Result.pos_bboxes


@pytest.fixture
def tiny() -> nn.Module:
    seed_everything(1)
    return build_model(load_config(str(CONFIGS / "tiny_resnest.py")).model.to_dict())


def stored(tmp_path, names: tuple) -> str:
    config = load_config(str(CONFIGS / "tiny_resnest.py"))
    model = build_model(config.model.to_dict())
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.bias.copy_(torch.arange(4.0))
    meta = describe_model(config.model.to_dict(), config.inference.to_dict(), names)
    path = tmp_path / "stored.pth"
    save_checkpoint(path, {"meta": meta, "state_dict": model.state_dict()})
    return str(path)


def test_rows_of_classes_follow_their_names(tiny, tmp_path):
    with torch.no_grad():
        tiny.roi_head.bbox_head.fc_cls.bias.fill_(9.0)
    path = stored(tmp_path, ("shsy5y", "astro", "cort"))
    lines = start_from(tiny, path, ("cort", "new", "astro"))
    bias = tiny.roi_head.bbox_head.fc_cls.bias.detach()
    torch.testing.assert_close(bias, torch.tensor([2.0, 9.0, 1.0, 3.0]))  # the background is last
    assert "taken over by name: cort, astro; new: new" in lines[0]
    assert start_from(tiny, path, ("shsy5y", "astro", "cort")) == []


def test_another_backbone_is_no_start(tmp_path):
    other = build_model(load_config(str(CONFIGS / "tiny_cascade.py")).model.to_dict())
    with pytest.raises(InputError, match="architecture differs"):
        start_from(other, stored(tmp_path, ("a", "b", "c")), ("a", "b", "c"))
