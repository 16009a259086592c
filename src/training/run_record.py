"""What determines a training run: stored in its checkpoints, compared when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmcv import Config

from utils.files import sha256
from utils.script import InputError

# Parts of a config that change the trained weights; the rest is about logs and evaluation.
SECTIONS = (
    "model",
    "inference",
    "augmentation",
    "optimizer",
    "grad_clip",
    "lr_config",
    "max_iters",
    "live_norm",
    "average_decay",
    "balance_cell_types",
    "seed",
)
CHOSEN = ("confidence", "mask_threshold", "box_merging")  # of `inference`: does not change weights
MOST_NAMED = 4


def describe_run(
    config: Config,
    annotation_files: Sequence[str | Path],
    *,
    batch_size: int,
    processes: int,
    precision: str,
    from_scratch: bool,
) -> dict[str, object]:
    """Everything that the weights depend on, by name, as plain values.

    Args:
        config: with its schedule scaled.
        annotation_files: of the training images.
        batch_size: images a step in each process.
        processes: how many there are.
        precision: what the convolutional parts compute in.
        from_scratch: see `--from_scratch`.
    """
    settings = {name: config.get(name) for name in SECTIONS}
    settings["inference"] = {k: v for k, v in config.inference.items() if k not in CHOSEN}
    return {
        "batch_size": batch_size,
        "processes": processes,
        "precision": precision,
        "from_scratch": from_scratch,
        "annotations": ", ".join(sha256(path)[:12] for path in annotation_files),
        **flatten(settings),
    }


def flatten(value: object, name: str = "") -> dict[str, object]:
    """Nested dicts and lists as one dict: {"a": [{"b": 1}]} becomes {"a.0.b": 1}."""
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {name: value}
    flat = {}
    for key, item in items:
        flat |= flatten(item, f"{name}.{key}" if name else str(key))
    return flat


def check_same_run(path: str, stored: Mapping[str, object], present: Mapping[str, object]) -> None:
    """Raise an `InputError` that names what differs from the run that wrote a checkpoint.

    Args:
        path: the checkpoint.
        stored: what `describe_run` said then.
        present: what it says now.
    """
    if "live_norm" in stored:  # a single number in earlier versions
        raise InputError(
            f"--resume {path}: an earlier version of this program wrote it; start from it with "
            "--load_from"
        )
    absent = object()
    names = [
        name
        for name in {**stored, **present}
        if stored.get(name, absent) != present.get(name, absent)
    ]
    if names:
        shown = "; ".join(
            f"{name} is {present.get(name, 'absent')}, was {stored.get(name, 'absent')}"
            for name in names[:MOST_NAMED]
        )
        more = f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        raise InputError(
            f"--resume {path}: another run ({shown}{more}); give the same options, or start a new "
            "one with --load_from"
        )
