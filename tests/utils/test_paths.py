"""Default files, found whatever the working directory, and lists of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ROOT

from utils.paths import (
    BUNDLED_MODELS,
    choose_weights,
    default_second_level,
    demo_image,
    in_repository,
    list_images,
    output_names,
    split_paths,
)


@pytest.fixture(params=["the repository", "elsewhere"])
def working_directory(request, monkeypatch, tmp_path):
    folder = ROOT if request.param == "the repository" else tmp_path
    monkeypatch.chdir(folder)
    return folder


def test_defaults_are_found(working_directory):
    weights = choose_weights(None)
    assert all(Path(path).is_file() for path in weights)
    assert Path(default_second_level(weights)).is_file()
    assert Path(demo_image()).is_file()
    assert Path(in_repository("README.md")).samefile(ROOT / "README.md")


def test_paths_in_messages_are_short_in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert in_repository(BUNDLED_MODELS[0]) == BUNDLED_MODELS[0]


def test_other_models_have_no_default_second_level():
    assert default_second_level(["a.pth"]) is None
    assert default_second_level(BUNDLED_MODELS[:1]) is None


def test_paths_in_one_string_or_in_several(tmp_path):
    spaced = tmp_path / "my model.pth"
    spaced.touch()
    entries = ["a.pth\n  b.pth", "c.pth", str(spaced)]
    assert split_paths(entries) == ["a.pth", "b.pth", "c.pth", str(spaced)]
    assert choose_weights(entries[:1]) == ["a.pth", "b.pth"]


def test_images_are_listed_in_natural_order(tmp_path):
    for name in ("b10.png", "b2.PNG", "a.tif", "x.txt"):
        (tmp_path / name).touch()
    names = [path.name for path in list_images([str(tmp_path)])]
    assert names == ["a.tif", "b2.PNG", "b10.png"]
    assert [p.name for p in list_images([str(tmp_path / "b*")])] == ["b2.PNG", "b10.png"]


def test_pictures_of_images_of_the_same_name(tmp_path):
    paths = [tmp_path / "one" / "a.tif", tmp_path / "two" / "a.png", tmp_path / "b.bmp"]
    assert list(output_names(paths)) == ["one_a.png", "two_a.png", "b.png"]
