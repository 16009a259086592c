"""The folder of a training: continued, replaced, or refused."""

from __future__ import annotations

import pytest

from training.output import find_checkpoint, goes_on_in, prepare_folder, remove_training
from utils.script import InputError


def filled(folder):
    folder.mkdir()
    for name in ("latest.pth", "best_mAP_iter_5.pth", "train.log", ".latest-ab12.pth"):
        (folder / name).write_text("x")
    (folder / "tf_logs").mkdir()
    (folder / "mine.txt").write_text("x")
    return folder


def test_another_training_is_not_replaced_by_accident(tmp_path):
    out_dir = filled(tmp_path / "out")
    with pytest.raises(InputError, match="--resume auto.*--overwrite"):
        prepare_folder(out_dir, resume=False, overwrite=False)
    assert (out_dir / "latest.pth").is_file()


def test_overwriting_removes_what_trainings_write_and_nothing_else(tmp_path):
    out_dir = filled(tmp_path / "out")
    prepare_folder(out_dir, resume=False, overwrite=True)
    assert (out_dir / "latest.pth").is_file()  # the new one may not be able to start
    remove_training(out_dir)
    assert {path.name for path in out_dir.iterdir()} == {"mine.txt", "train.log"}


def test_resuming_keeps_all_but_the_half_written(tmp_path):
    out_dir = filled(tmp_path / "out")
    prepare_folder(out_dir, resume=True, overwrite=False)
    assert not (out_dir / ".latest-ab12.pth").exists()
    assert {"latest.pth", "best_mAP_iter_5.pth", "train.log"} <= {p.name for p in out_dir.iterdir()}


def test_new_folders_are_made(tmp_path):
    prepare_folder(tmp_path / "a" / "b", resume=False, overwrite=False)
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="choose another folder"):
        prepare_folder(tmp_path / "file" / "b", resume=False, overwrite=False)


def test_auto_finds_the_latest_checkpoint_if_there_is_one(tmp_path):
    assert find_checkpoint("auto", tmp_path) is None
    (tmp_path / "latest.pth").write_text("x")
    assert find_checkpoint("auto", tmp_path) == str(tmp_path / "latest.pth")
    assert find_checkpoint("other.pth", tmp_path) == "other.pth"
    assert find_checkpoint(None, tmp_path) is None


def test_a_run_that_failed_before_its_first_checkpoint_is_started_again(tmp_path):
    (tmp_path / "train.log.json").write_text("{}")
    prepare_folder(tmp_path, resume=False, overwrite=False)
    remove_training(tmp_path)
    assert not (tmp_path / "train.log.json").exists()


def test_a_run_goes_on_in_its_own_folder_only(tmp_path):
    assert goes_on_in(tmp_path, str(tmp_path / "." / "latest.pth"))
    assert not goes_on_in(tmp_path, str(tmp_path / "other" / "latest.pth"))
    assert not goes_on_in(tmp_path, None)
