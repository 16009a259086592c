"""Checkpoints made to do harm: each ends with an `InputError`, and nothing in them is executed."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from helpers import CONFIGS, ROOT
from mmcv import Config

from network.checkpoints import describe_model, load_checkpoint
from network.descriptions import LARGEST, check_model
from network.detector import Detector
from utils.script import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def good(untrained) -> dict:
    """A checkpoint that loads; tests change a copy of it."""
    return load_checkpoint(untrained("tiny_resnest"))


@pytest.fixture
def mark(tmp_path) -> Path:
    """A file that hostile code would make."""
    return tmp_path / "executed"


class Command:
    """Pickles as a call of `open`, which leaves the mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def refused(path: Path, *parts: str) -> None:
    """Loading a model from `path` ends with a message that holds all parts."""
    with pytest.raises(InputError) as caught:
        Detector.load(path, CPU, torch.float32)
    for part in (str(path), *parts):
        assert part in str(caught.value)


def changed(good: dict, path: Path, change) -> Path:
    """Save a copy of `good` whose model description `change` has changed in place."""
    checkpoint = {"meta": deepcopy(good["meta"]), "state_dict": good["state_dict"]}
    model = json.loads(checkpoint["meta"]["model"])
    change(model)
    checkpoint["meta"]["model"] = json.dumps(model)
    torch.save(checkpoint, path)
    return path


def test_the_unchanged_checkpoint_loads(good, tmp_path):
    path = changed(good, tmp_path / "good.pth", lambda model: None)
    assert Detector.load(path, CPU, torch.float32).class_names == ("disc", "box", "bar")


def test_a_detector_that_reads_a_python_config(good, tmp_path, mark):
    """mmdet builds any of its types anywhere; this one stands in the place of the neck."""
    (tmp_path / "teacher.py").write_text(f"open({str(mark)!r}, 'w')\nmodel = dict()\n")

    def student(model):
        parts = {"backbone": model["backbone"], "neck": model["neck"]}
        kind = "KnowledgeDistillationSingleStageDetector"
        model["neck"] = {"type": kind, **parts, "bbox_head": model["rpn_head"]}

    def change(model):
        student(model)
        model["neck"]["teacher_config"] = str(tmp_path / "teacher.py")

    refused(changed(good, tmp_path / "x.pth", change))
    assert not mark.exists()
    refused(changed(good, tmp_path / "y.pth", student), "KnowledgeDistillation", "not among")


@pytest.mark.parametrize("stage", ["rpn", "rcnn"])
def test_a_name_that_mmcv_evaluates(good, tmp_path, mark, stage):
    def change(model):
        model["test_cfg"][stage]["nms"]["type"] = f"(lambda *a, **k: open({str(mark)!r}, 'w'))"

    refused(changed(good, tmp_path / "x.pth", change), "not among")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("backbone", "init_cfg", {"type": "Pretrained", "checkpoint": "/etc/passwd"}),
        ("backbone", "init_cfg", {"type": "Kaiming", "override": {"checkpoint": "x"}}),
        ("backbone", "pretrained", "https://example.org/x.pth"),
        (None, "pretrained", "torchvision://resnet50"),
        (None, "teacher_ckpt", "x"),
        (None, "teacher_config", "x"),
        ("neck", "config_file", "x"),
        ("neck", "url", "x"),
        ("neck", "path", "x"),
        ("neck", "style", "s3://bucket/x"),
        ("neck", "style", "../x"),
        ("neck", "type", {"type": "FPN"}),
        ("neck", "type", None),
        ("roi_head", "mask_iou_head", {"type": "MaskIoUHead"}),
        ("neck", "num_outs", LARGEST + 1),
        ("neck", "num_outs", float("nan")),
    ],
)
def test_words_that_reach_outside(good, tmp_path, where, key, value):
    def change(model):
        (model[where] if where else model)[key] = value

    refused(changed(good, tmp_path / "x.pth", change), "no usable checkpoint")


@pytest.mark.parametrize("names", ["configs", "tests/configs"])
def test_every_configuration_may_be_in_a_checkpoint(names):
    paths = sorted((ROOT / names).glob("*.py"))
    assert paths
    for path in paths:
        config = Config.fromfile(str(path))
        # a training measures them on its images where the configuration does not say them
        inference = {**config.inference, "pixel_mean": [128.0] * 3, "pixel_std": [10.0] * 3}
        meta = describe_model(config.model.to_dict(), inference, ("a", "b", "c"))
        assert "Pretrained" not in meta["model"]
        check_model(json.loads(meta["model"]), 3)


def test_a_training_of_another_type_is_refused_at_its_start():
    config = Config.fromfile(str(CONFIGS / "tiny_resnest.py"))
    config.model.type = "MaskScoringRCNN"
    with pytest.raises(InputError, match="MaskScoringRCNN.*MODEL_TYPES"):
        describe_model(config.model.to_dict(), config.inference, ("a", "b", "c"))


def set_in(model: dict, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        model = model[key]
    model[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("neck.num_outs", -1),
        ("backbone.depth", 51),
        ("backbone.stem_channels", 9000),
        ("backbone.base_channels", 10000),
        ("roi_head.mask_head.num_convs", 10000),
        ("roi_head.bbox_head.bbox_coder.target_stds", [0.1] * 3),
        ("roi_head.bbox_head.bbox_coder.target_stds", "RoIAlign"),
        ("rpn_head.anchor_generator.strides", [4, 8]),
        ("rpn_head.anchor_generator.strides", []),
        ("roi_head.mask_roi_extractor.featmap_strides", []),
        ("test_cfg.rpn", None),
        ("test_cfg.rpn.nms_pre", "many"),
        ("test_cfg.rcnn", {}),
        ("roi_head", []),
        ("backbone", {}),
    ],
)
def test_impossible_numbers(good, tmp_path, path, value):
    refused(changed(good, tmp_path / "x.pth", lambda model: set_in(model, path, value)))


def test_nested_without_end(good, tmp_path):
    for model in ('{"a":' * 100_000 + "1" + "}" * 100_000, json.dumps({"roi_head": nested(100)})):
        meta = {**good["meta"], "model": model}
        torch.save({"meta": meta, "state_dict": good["state_dict"]}, tmp_path / "x.pth")
        refused(tmp_path / "x.pth", "no usable checkpoint")


def nested(depth: int) -> dict:
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"class_names": ["disc", "box"]}, "2 class names"),
        ({"class_names": ["disc", "box", "box"]}, "twice"),
        ({"class_names": "box"}, "class_names"),
        ({"class_names": [1, 2, 3]}, "class_names"),
        ({"class_names": []}, "class_names"),
        ({"model": "[]"}, "roi_head"),
        ({"model": "{"}, "no usable"),
        ({"model": 3}, "no usable"),
        ({"inference": "7"}, "not a dict"),
        ({"format": "other/1"}, "no model description"),
    ],
)
def test_malformed_description(good, tmp_path, change, part):
    meta = {**good["meta"], **change}
    torch.save({"meta": meta, "state_dict": good["state_dict"]}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", part)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("short_side", -5),
        ("short_side", 0),
        ("short_side", 8.5),
        ("short_side", True),
        ("long_side", 10**9),
        ("long_side", 5),
        ("size_divisor", 0),
        ("size_divisor", None),
        ("pixel_mean", [1.0]),
        ("pixel_mean", 128),
        ("pixel_mean", ["a", "b", "c"]),
        ("pixel_std", [0, 0, 0]),
        ("pixel_std", [float("nan")] * 3),
        ("scale", 0),
        ("scale", "large"),
        ("field", [520]),
        ("field", [0, -1]),
        ("cell_diameter", {"default": 0}),
        ("cell_diameter", 17),
        ("pixel_size", float("inf")),
        ("resize", "/bin/sh"),
        ("box_merging", 0.7),
        ("box_merging", {"nms_iou": 0.7, "voting_iou": 2}),
        ("box_merging", {"voting_iou": 0.5}),
        ("mask_threshold", 1),
        ("mask_threshold", [0.5]),
        ("mask_threshold", {"disc": 0.5}),
        ("mask_threshold", {"default": 0.5, "disc": 0}),
        ("confidence", {"disc": 0.5}),
        ("confidence", {"default": "high"}),
        ("confidence", {"default": 2}),
        ("confidence", None),
    ],
)
def test_malformed_inference(good, tmp_path, key, value):
    inference = {**json.loads(good["meta"]["inference"]), key: value}
    meta = {**good["meta"], "inference": json.dumps(inference)}
    torch.save({"meta": meta, "state_dict": good["state_dict"]}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "inference")


def wide() -> torch.Tensor:
    """A quadrillion numbers out of one."""
    return torch.zeros(1).expand(10**9, 10**6)


@pytest.mark.parametrize(
    "value",
    [3, "text", None, [1.0], wide(), torch.full((3,), float("nan")), torch.zeros(3, device="meta")],
    ids=["int", "text", "none", "list", "wide", "nan", "meta"],
)
def test_weights_that_are_none(good, tmp_path, value):
    weights = dict(good["state_dict"])
    weights[next(iter(weights))] = value
    torch.save({"meta": good["meta"], "state_dict": weights}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "checkpoint")


@pytest.mark.parametrize("weights", [None, {}, [], {1: torch.zeros(1)}, {"a": torch.zeros(1)}])
def test_state_dict_of_another_kind(good, tmp_path, weights):
    torch.save({"meta": good["meta"], "state_dict": weights}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth")


def test_pickles_that_call_something(good, tmp_path, mark):
    """In every form in which torch has ever saved, and where torch looks for its own pickle."""
    hostile = {"meta": good["meta"], "state_dict": Command(mark)}
    content = pickle.dumps(hostile)
    torch.save(hostile, tmp_path / "zip.pth")
    torch.save(hostile, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(content)
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    paths = sorted(tmp_path.glob("*.pth"))
    assert len(paths) == 4
    for path in paths:
        refused(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Command(mark)))  # it would leave its mark
    assert mark.exists()


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(S'touch MARK'\ntR.",
        b"cposix\nsystem\n(S'touch MARK'\ntR.",
        b'cbuiltins\neval\n(S\'open("MARK", "w")\'\ntR.',
        b"cbuiltins\ngetattr\n(ctorch\nload\nS'x'\ntR.",
        b"ctorch.hub\nload\n(S'MARK'\nS'x'\ntR.",
        b"ctorch.serialization\nload\n(S'MARK'\ntR.",
        b"ctorch.jit._serialization\nload\n(S'MARK'\ntR.",
        b"cnumpy\nload\n(S'MARK'\nNI01\ntR.",
        b"cmmcv\nConfig.fromfile\n(S'MARK'\ntR.",
        b"(S'touch MARK'\nios\nsystem\n.",  # INST instead of GLOBAL and REDUCE
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x0atouch MARK\x94\x85\x94R\x94.",
    ],
)
def test_a_zip_whose_pickle_calls_something(tmp_path, mark, call):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x/data.pkl", call.replace(b"MARK", str(mark).encode()))
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/version", "3\n")
    refused(path, "not a readable checkpoint (", "plain data" if b"(S" == call[:2] else "refused")
    assert not mark.exists()


def test_a_key_that_crashes_torch(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s.")
        archive.writestr("x/version", "3\n")
    refused(tmp_path / "x.pth", "a key in it")


def test_an_archive_of_torchscript(tmp_path, recwarn):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / "x.pth"))
    refused(tmp_path / "x.pth", "__torch__", "refused")
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        for name in ("data.pkl", "constants.pkl"):
            archive.writestr(f"y/{name}", b"N.")
        archive.writestr("y/version", "3\n")
    recwarn.clear()
    refused(tmp_path / "y.pth", "TorchScript")
    assert not len(recwarn)


def test_a_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 10**8)
    refused(tmp_path / "x.pth", "unpacks to far more")


def test_other_files_in_the_archive(good, tmp_path):
    """torch reads by name, and unpacks nothing."""
    path = changed(good, tmp_path / "x.pth", lambda model: None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/code/__torch__.py", "raise SystemExit")
        archive.writestr("x/../../outside", "x")
    Detector.load(path, CPU, torch.float32)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside", "x")
    refused(path, "not in a subdirectory")
    assert not (tmp_path.parent / "outside").exists()
