"""Checkpoints made small enough to share."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest
import torch

from network.checkpoints import load_checkpoint, save_checkpoint
from publish_model import main
from utils.script import InputError


def publish(path, output, **options) -> dict:
    values = {"confidence": [], "mask_threshold": [], "short_side": None, "licence": None}
    values["label_offset"] = None
    main(Namespace(input=str(path), output=str(output), **{**values, **options}))
    return load_checkpoint(output)


def test_options_change_what_inference_reads(untrained, tmp_path):
    changes = {"confidence": ["default=0.4", "box=1"], "mask_threshold": ["disc=0.3"]}
    made = publish(untrained(), tmp_path / "x.pth", short_side=192, **changes)
    before = json.loads(load_checkpoint(untrained())["meta"]["inference"])
    inference = json.loads(made["meta"]["inference"])
    assert inference["confidence"] == {**before["confidence"], "default": 0.4, "box": 1.0}
    assert inference["mask_threshold"] == {"default": 0.5, "disc": 0.3}
    assert inference["short_side"] == 192
    weights = [value for name, value in made["state_dict"].items() if "running_" not in name]
    assert {v.dtype for v in weights if v.is_floating_point()} == {torch.float16}


def test_an_offset_of_the_labels_is_added_to_the_one_that_is_known(untrained, tmp_path):
    first = publish(untrained(), tmp_path / "x.pth", label_offset=[-0.25, 0.5])
    assert json.loads(first["meta"]["inference"])["label_offset"] == [-0.25, 0.5]
    second = publish(tmp_path / "x.pth", tmp_path / "y.pth", label_offset=[0.5, 0.25])
    assert json.loads(second["meta"]["inference"])["label_offset"] == [0.25, 0.75]
    kept = publish(tmp_path / "y.pth", tmp_path / "z.pth")
    assert json.loads(kept["meta"]["inference"])["label_offset"] == [0.25, 0.75]


def test_the_licence_stays_and_the_training_s_state_goes(untrained, tmp_path):
    checkpoint = load_checkpoint(untrained())
    checkpoint["meta"].update(run={"seed": 1}, hook_msgs={"best_score": 0.5})
    save_checkpoint(tmp_path / "in.pth", checkpoint)
    meta = publish(tmp_path / "in.pth", tmp_path / "x.pth", licence="research only")["meta"]
    assert meta["licence"] == "research only"
    assert not {"run", "hook_msgs"} & meta.keys()
    assert "licence" not in publish(tmp_path / "in.pth", tmp_path / "y.pth")["meta"]


def test_the_name_needs_no_suffix(untrained, tmp_path):
    assert publish(untrained(), tmp_path / "new" / "model")["state_dict"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_weights_that_half_precision_does_not_hold(untrained, tmp_path):
    checkpoint = load_checkpoint(untrained())
    name = "rpn_head.rpn_cls.weight"
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name] * 0 + 1e5
    save_checkpoint(tmp_path / "in.pth", checkpoint)
    made = publish(tmp_path / "in.pth", tmp_path / "x.pth")["state_dict"]
    assert (made[name] == 1e5).all()
    assert made["rpn_head.rpn_cls.bias"].dtype == torch.float16


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"short_side": 100_000}, "--short_side 100000"),
        ({"confidence": ["default=1.5"]}, "--confidence default=1.5"),
        ({"confidence": ["disc=nan"]}, "--confidence disc=nan"),
        ({"confidence": ["disc=-0.1"]}, "--confidence disc=-0.1"),
        ({"confidence": ["cell=0.5"]}, "disc, box, bar"),
        ({"confidence": ["disc"]}, "CLASS=NUMBER"),
        ({"mask_threshold": ["disc=0"]}, "--mask_threshold disc=0"),
        ({"mask_threshold": ["cell=0.5"]}, "disc, box, bar"),
    ],
)
def test_values_out_of_range(untrained, tmp_path, options, part):
    with pytest.raises(InputError) as caught:
        publish(untrained(), tmp_path / "x.pth", **options)
    assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_input_and_folders_are_not_written_to(untrained, tmp_path):
    before = untrained().read_bytes()
    with pytest.raises(InputError, match="is the input"):
        publish(untrained(), untrained())
    with pytest.raises(InputError, match="is a folder"):
        publish(untrained(), tmp_path)
    assert untrained().read_bytes() == before
    assert not list(tmp_path.iterdir())
