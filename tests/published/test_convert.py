"""Conversion of Detectron2 checkpoints: what is read, what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from detectron2_weights import read_list
from helpers import assert_one_line_error
from mmcv import Config
from torch.nn import functional as F

from network.models import build_model, set_num_classes
from published.detectron2 import convert_weights, count_classes, read_weights
from utils.script import InputError

CONFIG = "configs/cascade_mask_rcnn_resnest200_dcn.py"
CONSTANTS = {"pixel_mean": torch.full((3,), 128.0)}


@pytest.fixture(scope="module")
def target() -> dict[str, torch.Tensor]:
    """The model's own weights."""
    config = Config.fromfile(CONFIG).model.to_dict()
    config["backbone"]["init_cfg"] = None
    return build_model(config).state_dict()


@pytest.fixture
def source() -> dict[str, torch.Tensor]:
    """A complete Detectron2 checkpoint; what it holds is left to chance."""
    return {
        name: torch.empty(tuple(map(int, shape.split("x"))))
        for name, shape in read_list()[["name", "shape"]].itertuples(index=False)
    }


def test_every_weight_is_used_once_and_set_once(source, target):
    for number, value in enumerate(source.values()):
        value.fill_(number)
    converted = convert_weights(source, target, CONSTANTS, "x.pth")
    used = sorted(int(value.max()) for value in converted.values())
    assert used == list(range(len(source)))
    unset = target.keys() - converted.keys()
    assert all(name.endswith("num_batches_tracked") for name in unset)


def test_grouped_offset_convolutions_become_dense(source, target):
    name = "backbone.bottom_up.res3.0.conv2_offset.weight"
    source[name].normal_()
    converted = convert_weights(source, target, CONSTANTS, "x.pth")
    dense = converted["backbone.layer2.0.conv2.conv.conv_offset.weight"]
    x = torch.randn(1, 128, 9, 11)
    expected = F.conv2d(x, source[name], padding=1, groups=2)
    torch.testing.assert_close(F.conv2d(x, dense, padding=1), expected, atol=1e-4, rtol=1e-5)


def rename(weights: dict) -> None:
    weights["backbone.fpn_lateral9.weight"] = weights.pop("backbone.fpn_lateral2.weight")


def add(weights: dict) -> None:
    weights["roi_heads.keypoint_head.weight"] = torch.zeros(1)


def reshape(weights: dict) -> None:
    weights["backbone.fpn_lateral2.weight"] = torch.zeros(256, 255, 1, 1)


def another_mean(weights: dict) -> None:
    weights["pixel_mean"] = torch.full((3, 1, 1), 103.5)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (rename, ("unknown: backbone.fpn_lateral9.w", "missing: backbone.fpn_lateral2.w")),
        (add, ("unknown: roi_heads.keypoint_head.weight",)),
        (reshape, ("of another shape: backbone.fpn_lateral2.weight [256, 255, 1, 1]",)),
        (another_mean, ("other than the configuration says: pixel_mean",)),
    ],
)
def test_a_checkpoint_that_does_not_fit(source, target, change, parts):
    change(source)
    with pytest.raises(InputError) as error:
        convert_weights(source, target, CONSTANTS, "x.pth")
    for part in ("x.pth: ", *parts):
        assert part in str(error.value)


def test_many_problems_are_counted(source, target):
    kept = {name: value for name, value in source.items() if "norm" not in name}
    with pytest.raises(InputError, match="and 663 more"):
        convert_weights(kept, target, CONSTANTS, "x.pth")


def test_saved_constants_that_agree_are_accepted(source, target):
    source["pixel_mean"] = torch.full((3, 1, 1), 128.0)
    convert_weights(source, target, CONSTANTS, "x.pth")


def test_one_class(source, target):
    """LIVECell's weights: one class and background."""
    for stage in range(3):
        source[f"roi_heads.box_predictor.{stage}.cls_score.weight"] = torch.empty(2, 1024)
        source[f"roi_heads.box_predictor.{stage}.cls_score.bias"] = torch.empty(2)
    source["roi_heads.mask_head.predictor.weight"] = torch.empty(1, 256, 1, 1)
    source["roi_heads.mask_head.predictor.bias"] = torch.empty(1)
    assert count_classes(source, "x.pth") == 1
    config = Config.fromfile(CONFIG).model.to_dict()
    config["backbone"]["init_cfg"] = None
    set_num_classes(config, 1)
    convert_weights(source, build_model(config).state_dict(), CONSTANTS, "x.pth")


def test_formats(tmp_path):
    weights = {"a.weight": torch.arange(3.0)}
    torch.save(weights, tmp_path / "plain.pth")
    scheduler = {"lr": [np.float64(0.1)]}
    torch.save({"model": weights, "scheduler": scheduler}, tmp_path / "model.pth")
    arrays = {"a.weight": np.arange(3, dtype=np.float32)}
    for protocol in (2, 4):
        content = {"model": arrays, "__author__": "someone"}
        (tmp_path / f"{protocol}.pkl").write_bytes(pickle.dumps(content, protocol))
    for name in ("plain.pth", "model.pth", "2.pkl", "4.pkl"):
        assert read_weights(tmp_path / name)["a.weight"].tolist() == [0, 1, 2]


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("name", ["x.pth", "x.pkl"])
def test_nothing_is_executed(tmp_path, capsys, name):
    if name == "x.pkl":
        (tmp_path / name).write_bytes(pickle.dumps({"model": Hostile()}))
    else:
        torch.save({"model": Hostile()}, tmp_path / name)
    with pytest.raises(InputError, match=name):
        read_weights(tmp_path / name)
    assert "executed" not in capsys.readouterr().out


def test_errors_of_the_script(run, tmp_path):
    output = tmp_path / "converted.pth"
    missing = run("convert_detectron2.py", "--input", tmp_path / "no.pth", "--output", output)
    assert_one_line_error(missing, "no.pth: no such file")
    torch.save({"model": {"weight": torch.zeros(99)}}, tmp_path / "other.pth")
    other = run("convert_detectron2.py", "--input", tmp_path / "other.pth", "--output", output)
    assert_one_line_error(other, "other.pth: lacks roi_heads.box_predictor")
    content = (tmp_path / "other.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    cut = run("convert_detectron2.py", "--input", tmp_path / "cut.pth", "--output", output)
    assert_one_line_error(cut, "cut.pth: not readable", "give a Detectron2 checkpoint")
    assert not output.exists()
    same = tmp_path / "." / "other.pth"
    itself = run("convert_detectron2.py", "--input", tmp_path / "other.pth", "--output", same)
    assert_one_line_error(itself, "--output", "is the input")
    assert (tmp_path / "other.pth").read_bytes() == content


def test_class_names_have_to_be_as_many_as_the_classes(run, tmp_path):
    weights = {"roi_heads.box_predictor.0.cls_score.weight": torch.zeros(6, 1024)}
    torch.save(weights, tmp_path / "five.pth")
    done = run("convert_detectron2.py", "--input", tmp_path / "five.pth", "--output", "x.pth")
    assert_one_line_error(done, "--class_names", "5 classes")
