"""Checkpoints of tiny models that were never trained and answer with many boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers import CLASS_NAMES, CONFIGS


def write_untrained(
    path: Path, config: str = "tiny_resnest", seed: int = 0, names: Sequence[str] = CLASS_NAMES
) -> Path:
    """A checkpoint of a config in tests/configs, with random weights.

    Args:
        path: where to write it.
        config: its name.
        seed: of the weights.
        names: the classes.
    """
    from mmcv import Config

    from network.checkpoints import describe_model, save_checkpoint
    from network.models import build_model, set_num_classes
    from utils.device import seed_everything

    settings = Config.fromfile(str(CONFIGS / f"{config}.py"))
    settings.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=20)
    settings.inference.confidence.default = 0.0
    model_config = settings.model.to_dict()
    set_num_classes(model_config, len(names))
    seed_everything(seed)
    model = build_model(model_config)
    model.init_weights()
    meta = describe_model(model_config, settings.inference, names)
    save_checkpoint(path, {"meta": meta, "state_dict": model.state_dict()})
    return path
