"""Another backbone behind the heads of a trained model: its features are fitted to the model's own.

Feature maps are a target at every position, so that hundreds of steps suffice until the heads work
with the new features; labels alone would take thousands (Romero et al. 2015, "FitNets").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from training.hooks import use_batch_statistics
from training.runner import parameter_groups
from utils.script import InputError

LEARNING_RATE = 1.5e-3  # of AdamW, at its highest
RISING = 0.15  # share of the steps in which the learning rate rises
WEIGHT_DECAY = 0.05
LARGEST_GRADIENT = 5.0
NORM_BATCHES = 60  # that the norms' running statistics are means over
FEATURES = ("backbone.", "neck.")


def take_heads(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Take all weights behind the feature maps, and those of the neck that fit; in place.

    Args:
        model: initialised, with another backbone.
        weights: of the trained model, by name.

    Raises:
        InputError: heads of another architecture.
    """
    own = model.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        fits = name in own and name in weights and own[name].shape == weights[name].shape
        if fits and not name.startswith("backbone."):
            own[name].copy_(weights[name])
        elif not fits and not name.startswith(FEATURES):
            raise InputError(
                f"--config: its heads differ from those of --weights ({name}); only the backbone "
                "can be another"
            )


def fit_features(
    student: nn.Module, teacher: nn.Module, batches: Iterator[torch.Tensor], steps: int
) -> float:
    """Train backbone and neck of `student` until their maps are those of `teacher`; in place.

    Args:
        student, teacher: detectors with the same strides and channels behind their necks.
        batches: normalised images, float32 [N, 3, H, W].
        steps: a batch each.

    Returns:
        Share of the variance of the teacher's maps that is unexplained, mean over the last tenth of
        the steps.

    Raises:
        InputError: the maps differ in size.
    """
    teacher.eval()
    student.train()
    use_batch_statistics(student, True)
    parts = nn.ModuleList([student.backbone, student.neck])
    optimizer = torch.optim.AdamW(parameter_groups(parts, WEIGHT_DECAY), LEARNING_RATE)
    schedule = OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=RISING)
    shares = []
    with tqdm(total=steps, desc="fitting features") as bar:
        for _, images in zip(range(steps), batches, strict=False):
            with torch.no_grad():
                wanted = teacher.extract_feat(images)
            loss = unexplained(student.extract_feat(images), wanted)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parts.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            shares.append(loss.item())
            bar.set_postfix(unexplained=f"{shares[-1]:.3f}")
            bar.update()
    last = shares[-max(1, steps // 10) :]
    return sum(last) / len(last)


def unexplained(maps: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean squared difference relative to the variance of what is wanted, mean over the levels.

    Args:
        maps, wanted: of each level [N, C, H, W].

    Raises:
        InputError: they differ in size.
    """
    sizes, wanted_sizes = ([tuple(m.shape[1:]) for m in levels] for levels in (maps, wanted))
    if sizes != wanted_sizes:
        raise InputError(
            f"--config: its feature maps are {sizes}, those of --weights {wanted_sizes}; give its "
            "neck their number of channels, and its backbone their strides"
        )
    levels = zip((m.float() for m in maps), (w.float() for w in wanted), strict=True)
    return torch.stack([mse_loss(m, w) / w.var().clamp(min=1e-6) for m, w in levels]).mean()


@torch.no_grad()
def settle_norms(student: nn.Module, batches: Iterator[torch.Tensor]) -> None:
    """Let the running statistics in backbone and neck be plain means over some batches; in place.

    While the weights change, they are means over the last ten batches or so, in which some cell
    type may be missing; the training goes on with them as they are. Norms that never use the
    batch's statistics (see `NormHook`) keep their running ones.
    """
    student.train()
    use_batch_statistics(student, True)
    parts = (student.backbone, student.neck)
    norms = [
        m for part in parts for m in part.modules() if isinstance(m, _BatchNorm) and m.training
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    for _, images in zip(range(NORM_BATCHES), batches, strict=False):
        student.extract_feat(images)
    student.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
