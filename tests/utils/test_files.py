"""Outputs on disks without room and in folders that are none."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, assert_one_line_error

from network.checkpoints import save_checkpoint
from utils.files import atomic_path, check_folder, read_json, write_json
from utils.script import InputError

LIMIT = 20_000  # bytes that a file may have


@pytest.fixture
def full_disk():
    """A limit for files, which the system reports as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def only_before(folder: Path) -> None:
    """The earlier output is as it was, and nothing is beside it."""
    assert [path.name for path in folder.iterdir()] == ["x.pth"]
    assert (folder / "x.pth").read_text() == "before"


@pytest.mark.parametrize("compress", [False, True])
def test_a_checkpoint_that_finds_no_room(tmp_path, full_disk, compress):
    (tmp_path / "x.pth").write_text("before")
    with pytest.raises(
        InputError, match=r"x\.pth: cannot be written \(File too large\); make room"
    ):
        save_checkpoint(tmp_path / "x.pth", {"a": torch.randn(LIMIT)}, compress)
    only_before(tmp_path)


def test_json_that_finds_no_room(tmp_path, full_disk):
    (tmp_path / "x.pth").write_text("before")
    with pytest.raises(InputError, match="make room"):
        write_json(tmp_path / "x.pth", list(range(LIMIT)))
    only_before(tmp_path)


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x.pth"):
        1 / 0  # noqa: B018
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x.pth"):
        (tmp_path / "missing").read_text()
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"), atomic_path(tmp_path):
        pass


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/x", "x" * 300])
def test_folders_that_take_nothing(tmp_path, folder):
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / folder / "x.json", {})


def test_folders_are_checked_before_the_work(tmp_path, monkeypatch):
    check_folder("--out_dir", tmp_path)
    check_folder("--out_dir", tmp_path / "new" / "newer")
    check_folder("--out_dir", None)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("before")
    for folder in (tmp_path / "file", tmp_path / "file" / "x", "/proc/nowhere", "x" * 300):
        with pytest.raises(InputError, match="--out_dir .*: cannot be written to .*choose another"):
            check_folder("--out_dir", folder)


def test_a_read_only_disk_is_seen_before_the_work(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", _read_only)
        with pytest.raises(InputError, match="--out_dir .*new: cannot be written to .Read-only"):
            check_folder("--out_dir", tmp_path / "new")


def _read_only(path, *_args, **_options):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


@pytest.mark.parametrize("text", ["", "{", "[" * 9999, '{"a": \ud800}'])
def test_json_that_is_none(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match="x.json: not readable as JSON.*give another"):
        read_json(tmp_path / "x.json", "x.json", "give another")


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "x.json", {"é": [1]})
    assert read_json(tmp_path / "x.json", "x", "") == {"é": [1]}
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"é": [1]}


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("publish_model.py", ("--input", "models/demo_model_1.pth", "--output", "FOLDER/x")),
        ("publish_model.py", ("--input", "models/demo_model_1.pth", "--output", "/proc/x/y.pth")),
    ],
)
def test_scripts_that_find_no_room(tmp_path, script, options):
    """One line, exit code 2, and nothing left."""
    words = [word.replace("FOLDER", str(tmp_path)) for word in options]
    done = subprocess.run(
        [sys.executable, str(ROOT / "src" / script), *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
    )
    assert_one_line_error(done, "cannot be written")
    assert not list(tmp_path.iterdir())


def test_json_of_windows_programs_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": "µ"}', encoding="utf-8-sig")
    assert read_json(path, "a.json", "") == {"a": "µ"}
