"""Default files, found whatever the working directory, and lists of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ROOT

from utils.paths import (
    BUNDLED_MODELS,
    PUBLISHED_MODELS,
    check_weights_exist,
    choose_weights,
    demo_image,
    find_images,
    in_repository,
    list_images,
    split_paths,
)
from utils.script import InputError


@pytest.fixture(params=["the repository", "elsewhere"])
def working_directory(request, monkeypatch, tmp_path):
    folder = ROOT if request.param == "the repository" else tmp_path
    monkeypatch.chdir(folder)
    return folder


def test_defaults_are_found(working_directory):
    weights = choose_weights(None)
    assert all(Path(path).is_file() for path in weights)
    assert Path(demo_image()).is_file()
    assert Path(in_repository("README.md")).samefile(ROOT / "README.md")


def test_paths_in_messages_are_short_in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert in_repository(BUNDLED_MODELS[0]) == BUNDLED_MODELS[0]


def test_paths_in_one_string_or_in_several(tmp_path):
    spaced = [str(tmp_path / name) for name in ("my model.pth", "my other  model.pth")]
    for path in spaced:
        Path(path).touch()
    entries = ["a.pth\n  b.pth", "c.pth", spaced[0], f" {spaced[1]} d.pth {spaced[0]}\n"]
    expected = ["a.pth", "b.pth", "c.pth", spaced[0], spaced[1], "d.pth", spaced[0]]
    assert split_paths(entries) == expected
    assert choose_weights(entries[:1]) == ["a.pth", "b.pth"]


def test_images_are_listed_in_natural_order(tmp_path):
    for name in ("b10.png", "b2.PNG", "a.tif", "x.txt"):
        (tmp_path / name).touch()
    names = [path.name for path in list_images([str(tmp_path)])]
    assert names == ["a.tif", "b2.PNG", "b10.png"]
    assert [p.name for p in list_images([str(tmp_path / "b*")])] == ["b2.PNG", "b10.png"]


def test_recursive_listing_leaves_results_out(tmp_path):
    for name in ("b.png", "plate/a.png", "plate/.a-hidden.png", "results/a.png", "a_labels.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def listed(*patterns, **options):
        found = find_images([str(tmp_path / pattern) for pattern in patterns], **options)
        return [image.relative.as_posix() for image in found]

    assert listed(".") == ["a_labels.tif", "b.png"]
    leave_out = {tmp_path / "results", tmp_path / "a_labels.tif"}
    assert listed(".", recursive=True, leave_out=leave_out) == ["b.png", "plate/a.png"]
    assert listed("*/a.png") == ["plate/a.png", "results/a.png"]
    assert listed("**/a.png") == ["plate/a.png", "results/a.png"]
    assert listed("plate/a.png", "plate", "b.png") == ["a.png", "b.png"]  # each once


def test_published_models_that_are_not_there_can_be_fetched():
    absent = [path for path in map(in_repository, PUBLISHED_MODELS) if not Path(path).is_file()]
    for path in absent:
        with pytest.raises(InputError, match="bash download_models.sh"):
            check_weights_exist([path])
    with pytest.raises(InputError, match="nowhere.pth: .*; check the path"):
        check_weights_exist(["nowhere.pth"])
