"""The folder that a training writes to."""

from __future__ import annotations

import shutil
from pathlib import Path

from utils.script import InputError

LATEST = "latest.pth"
CHECKPOINTS = (LATEST, "best_mAP_iter_*.pth")
LOG = "train.log"
OLD_LOGS = (f"{LOG}.json", "config.py", "environment.json")
CURVES = "tf_logs"


def find_checkpoint(resume: str | None, out_dir: Path) -> str | None:
    """The checkpoint to continue from: as given, or for `auto` the latest if there is one."""
    if resume != "auto":
        return resume
    latest = out_dir / LATEST
    return str(latest) if latest.is_file() else None


def goes_on_in(out_dir: Path, resume: str | None) -> bool:
    """Whether a run is continued in the folder where its checkpoint lies."""
    return resume is not None and Path(resume).resolve().parent == out_dir.resolve()


def prepare_folder(out_dir: Path, resume: bool, overwrite: bool) -> None:
    """Make the folder, and remove what a killed run left half-written.

    Args:
        out_dir: of the training.
        resume: whether a run is continued in it.
        overwrite: another run may be replaced.

    Raises:
        InputError: there are checkpoints of another run, and neither `resume` nor `overwrite`.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out_dir {out_dir}: cannot be made ({error.strerror}); choose another folder"
        ) from error
    for pattern in (".latest-*.pth", ".best_mAP_iter_*-*.pth"):  # temporary names of atomic_path
        for path in out_dir.glob(pattern):
            path.unlink()
    trained = _checkpoints(out_dir)
    if trained and not resume and not overwrite:
        raise InputError(
            f"--out_dir {out_dir}: holds another training ({trained[0].name}); continue it with "
            "--resume auto, replace it with --overwrite, or choose another folder"
        )


def remove_training(out_dir: Path) -> None:
    """Remove another run's checkpoints and logs, except for the log that is being written.

    To be called when the new run can start: until then, the old one is all there is.
    """
    for path in (*_checkpoints(out_dir), *(out_dir / name for name in OLD_LOGS)):
        path.unlink(missing_ok=True)
    shutil.rmtree(out_dir / CURVES, ignore_errors=True)


def _checkpoints(out_dir: Path) -> list[Path]:
    return [path for pattern in CHECKPOINTS for path in out_dir.glob(pattern)]
