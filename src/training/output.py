"""The folder that a training writes to."""

from __future__ import annotations

import shutil
from pathlib import Path

from utils.script import InputError

LATEST = "latest.pth"
WRITTEN = (LATEST, "best_mAP_iter_*.pth", "train.log", "train.log.json", "config.py")
LOGS = "tf_logs"


def find_checkpoint(resume: str | None, out_dir: Path) -> str | None:
    """The checkpoint to continue from: as given, or for `auto` the latest if there is one."""
    if resume != "auto":
        return resume
    latest = out_dir / LATEST
    return str(latest) if latest.is_file() else None


def prepare_folder(out_dir: Path, resume: bool, overwrite: bool) -> None:
    """Make the folder, and remove what a killed run left half-written.

    Args:
        out_dir: of the training.
        resume: whether a run is continued in it.
        overwrite: remove what another run wrote.

    Raises:
        InputError: there is another run, and neither `resume` nor `overwrite`.
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
    written = [path for pattern in WRITTEN for path in out_dir.glob(pattern)]
    if resume or not written:
        return
    if not overwrite:
        raise InputError(
            f"--out_dir {out_dir}: holds another training ({written[0].name}); continue it with "
            "--resume auto, replace it with --overwrite, or choose another folder"
        )
    for path in written:
        path.unlink()
    shutil.rmtree(out_dir / LOGS, ignore_errors=True)
