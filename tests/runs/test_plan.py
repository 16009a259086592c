"""Outputs are planned so that none hits an image or another output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cells.exports.formats import FORMATS
from runs.names import OF_THE_RUN, unique_names
from runs.plan import files_of_run, plan_images, plan_run
from runs.summary import write_run
from utils.files import write_json
from utils.paths import ImageFile
from utils.script import InputError


def image_files(*names: str, root: str = "/data") -> list[ImageFile]:
    return [ImageFile(Path(root, name), Path(name)) for name in names]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.png", "b.tif"], ["a", "b"]),
        (["a.png", "a.jpg", "a.tif"], ["a_png", "a_jpg", "a_tif"]),
        (["r1/pos/a.png", "r2/pos/a.png"], ["r1_pos_a", "r2_pos_a"]),
        (["A.png", "x/a.png", "a.PNG"], ["A_png", "x_a", "a_PNG_2"]),  # where case is ignored
        (["summary.png", "run.png"], ["summary_2", "run"]),  # summary.csv is the run's
        (["a.tif", "a_masks.png"], ["a", "a_masks_2"]),  # --save masks writes a_masks.png
        (["a.tif", "A_masks.png"], ["a", "A_masks_2"]),  # and case is ignored
        (["x_a.png", "x/a.png"], ["x_a", "x_a_2"]),
    ],
)
def test_names_are_the_stems_as_far_as_they_are_unique(files, names):
    found = unique_names(image_files(*files, root="/"))
    assert found == names


def test_single_files_of_several_folders_get_their_folders():
    paths = [Path("/one/a.tif"), Path("/two/a.png"), Path("/b.bmp")]
    planned = plan_images([ImageFile(p, Path(p.name)) for p in paths], Path("out"), ["labels"])
    assert [p.picture.name for p in planned] == ["one_a.png", "two_a.png", "b.png"]
    assert planned[0].files == {"labels": Path("out/one_a_labels.tif")}
    assert planned[1].file_name == "a.png"


def test_no_two_outputs_are_the_same_whatever_the_names():
    stems = ["a", "A", "a_labels", "a_masks", "summary", "x_a", "a_png", "ä", "a" * 250]
    files = [
        f"{folder}{stem}{suffix}"
        for folder in ("", "x/", "x/y/", "a/")
        for stem in stems
        for suffix in (".png", ".tif", ".PNG", ".jpg", ".csv")
    ]
    planned = plan_images(image_files(*files), Path("out"), list(FORMATS))
    outputs = [path.name.casefold() for image in planned for path in image.outputs]
    assert len(set(outputs)) == len(outputs) == len(files) * (1 + len(FORMATS))
    assert not set(outputs) & set(OF_THE_RUN)
    assert max(len(name.encode()) for name in outputs) < 220


def test_names_do_not_depend_on_what_is_saved():
    images = image_files("a.tif", "a_masks.png", "a_labels.tif")
    few = plan_images(images, Path("out"), [])
    many = plan_images(images, Path("out"), list(FORMATS))
    assert [image.name for image in few] == [image.name for image in many]


def plan(folder: Path, out_dir: Path, *formats: str, recursive: bool = False) -> list[str]:
    planned = plan_run([str(folder)], recursive, out_dir, formats)
    return [image.file_name for image in planned]


def test_images_are_never_written_to(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").touch()
    assert plan(folder, tmp_path / "out") == ["a.png"]
    with pytest.raises(InputError, match="a.png") as error:
        plan(folder, folder)
    assert "--out_dir" in str(error.value)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InputError, match="a.png"):
        plan(folder, tmp_path / "link")
    (tmp_path / "out").mkdir()
    os.link(folder / "a.png", tmp_path / "out" / "a.png")
    with pytest.raises(InputError, match="a.png"):
        plan(folder, tmp_path / "out")


@pytest.mark.parametrize("out", ["in", "elsewhere"])
def test_files_that_no_run_has_written_are_not_written_to(tmp_path, out):
    folder, out_dir = tmp_path / "in", tmp_path / out
    for made in (folder, out_dir):
        made.mkdir(exist_ok=True)
    (folder / "a.tif").touch()
    assert plan(folder, out_dir, "csv") == ["a.tif"]
    for name in ("a.png", "a.csv", "summary.csv", "run.json"):
        (out_dir / name).write_text("{}")
        if (folder, name) != (out_dir, "a.png"):  # that would be another image
            with pytest.raises(InputError, match=name):
                plan(folder, out_dir, "csv")
        (out_dir / name).unlink()
    for name in ("submission.csv", "report.html", "notes.txt"):  # are not written
        (out_dir / name).touch()
    assert plan(folder, out_dir, "csv") == ["a.tif"]
    with pytest.raises(InputError, match="submission.csv"):
        plan(folder, out_dir, "kaggle")
    with pytest.raises(InputError, match="report.html"):
        plan_run([str(folder)], False, out_dir, [], report=True)


def test_a_run_that_was_killed_before_its_first_image_can_be_started_again(tmp_path):
    (tmp_path / "a.tif").touch()
    write_run(tmp_path, {"models": [], "settings": {}})
    assert plan(tmp_path, tmp_path) == ["a.tif"]


def test_own_results_are_written_again_and_never_read(tmp_path):
    for name in ("a.tif", "a.png", "a_labels.tif"):
        (tmp_path / name).touch()
    write_json(
        tmp_path / "records" / "a.json",
        {"sha256": "", "settings": "", "finished": False, "outputs": ["a.png", "a_labels.tif"]},
    )
    (tmp_path / "run.json").touch()
    assert plan(tmp_path, tmp_path, "labels") == ["a.tif"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").touch()
    images = ["a.png", "a.tif", "a_labels.tif"]
    assert plan(tmp_path, tmp_path / "out", recursive=True) == images
    (tmp_path / "link").symlink_to(tmp_path)
    assert plan(tmp_path, tmp_path / "link" / "out", recursive=True) == images
    assert plan(tmp_path, tmp_path / "out" / ".." / "out", recursive=True) == images
    with pytest.raises(InputError, match="b.png"):  # they are asked for: not "no such file"
        plan(tmp_path / "out" / "*.png", tmp_path / "out")


def test_a_report_that_no_run_has_written_is_not_written_to(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").touch()
    out = tmp_path / "out"
    write_run(out, {"models": [], "settings": {}, "files": files_of_run([], False)})
    for name in ("report.html", "submission.csv"):
        (out / name).write_text("mine")
        with pytest.raises(InputError, match=name):
            plan_run([str(tmp_path / "in")], False, out, ["kaggle"], report=True)
        (out / name).unlink()
    write_run(out, {"models": [], "settings": {}, "files": files_of_run(["kaggle"], True)})
    write_run(out, {"models": [], "settings": {}, "files": files_of_run([], False)})
    (out / "report.html").write_text("of the run before")
    plan_run([str(tmp_path / "in")], False, out, ["kaggle"], report=True)


def test_names_that_are_no_text_become_text(tmp_path):
    for name in (b"Zelle_\xe4.png", b"Zelle_\xe5.png", "Zelle_\u00e4.png".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    planned = plan_run([str(tmp_path)], False, tmp_path / "out", ["csv"])
    assert len({image.name for image in planned}) == 3
    for image in planned:
        f"{image.name} {image.label} {image.file_name} {image.files}".encode()
