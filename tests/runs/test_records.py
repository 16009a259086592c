"""Records of what is done, shares of what is to do, and the tables at the end."""

from __future__ import annotations

import argparse
import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cells.exports.segmented import SegmentedImage
from cells.instances import Instances
from runs.names import OF_THE_RUN
from runs.plan import PlannedImage, plan_images
from runs.records import Records, _digest_of, digest_of, settings_key, written_before
from runs.sharing import Share, share_option
from runs.summary import sum_up, summary_row
from utils.files import sha256
from utils.paths import ImageFile
from utils.script import InputError


@pytest.fixture
def images(tmp_path) -> list[PlannedImage]:
    files = [ImageFile(tmp_path / f"{name}.tif", Path(f"{name}.tif")) for name in "abc"]
    for file in files:
        file.path.write_text(file.path.name)
    return plan_images(files, tmp_path / "out", ["kaggle"])


@pytest.fixture
def records(tmp_path) -> Records:
    return Records(tmp_path / "out", settings_key({"thresholds": 0.5}))


def finish(records: Records, image: PlannedImage, **row: object) -> None:
    records.start(image, sha256(image.path))
    for path in image.outputs:
        path.write_text(f"id,predicted\r\n{image.name},1 1\r\n")
    records.finish(image, sha256(image.path), {"image": image.file_name, **row})


def test_what_counts_as_finished(images, records, tmp_path):
    image = images[0]
    assert not records.is_finished(image)
    records.start(image, sha256(image.path))
    image.picture.touch()
    image.files["kaggle"].touch()
    assert not records.is_finished(image)  # killed between the outputs and the record
    finish(records, image)
    assert records.is_finished(image)
    other = Records(tmp_path / "out", settings_key({"thresholds": 0.4}))
    assert not other.is_finished(image)
    more = image.files | {"csv": tmp_path / "out" / "a.csv"}
    assert not records.is_finished(replace(image, files=more))  # another --save
    image.files["kaggle"].write_text("corrected by hand")
    assert records.is_finished(image)
    image.path.write_text("another image of the same name")
    assert not records.is_finished(image)
    image.files["kaggle"].unlink()
    finish(records, image)
    image.picture.unlink()
    assert not records.is_finished(image)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"outputs": 3}', '{"finished": true}'])
def test_a_damaged_record_counts_as_none(images, records, text):
    finish(records, images[0])
    (records.folder / "a.json").write_text(text)
    assert not records.is_finished(images[0])
    assert written_before(records.folder.parent) == set()


def test_outputs_are_known_from_the_moment_that_they_are_begun(images, records, tmp_path):
    records.start(images[0], "")
    assert written_before(tmp_path / "out") - {*OF_THE_RUN} == {"a.png", "a_kaggle.csv"}


def test_results_of_another_save_stay_known_but_do_not_count(images, records, tmp_path):
    finish(records, images[0])
    fewer = replace(images[0], files={})
    records.start(fewer, "")
    records.finish(fewer, sha256(fewer.path), {})
    assert written_before(tmp_path / "out") - {*OF_THE_RUN} == {"a.png", "a_kaggle.csv"}
    assert records.is_finished(fewer) and not records.is_finished(images[0])


def test_what_killed_processes_left_is_removed(images, records, tmp_path):
    out = tmp_path / "out"
    finish(records, images[0])
    left = [out / ".a-0123abc_.png", out / "records" / ".a-0123abc_.json"]
    of_others = [out / ".b-0123abc_.png", out / ".summary-0123abc_.csv"]
    for path in (*left, *of_others):
        path.touch()
    records.clean(images[:1])
    assert not any(path.exists() for path in left) and all(path.exists() for path in of_others)
    records.clean(images, alone=True)
    assert not any(path.exists() for path in of_others)


def test_shares_cover_everything_once():
    items = list(range(23))
    for count in (1, 2, 7, 30):
        shares = [Share(i, count) for i in range(count)]
        assert sorted(sum((share.of(items) for share in shares), [])) == items
        divided = [share.divided(rank, 3) for share in shares for rank in range(3)]
        assert sorted(sum((share.of(items) for share in divided), [])) == items
        for share in shares:
            parts = sum((share.divided(rank, 3).of(items) for rank in range(3)), [])
            assert sorted(parts) == share.of(items)


def test_shard_option():
    assert share_option("2/8") == Share(1, 8)
    assert str(share_option("8/8")) == "8/8"
    for text in ("0/8", "9/8", "1", "1/0", "-1/2", "a/b", "1/2/3", "²/3"):
        with pytest.raises(argparse.ArgumentTypeError, match="i/n"):
            share_option(text)


def test_the_end_of_a_run_tells_of_all_processes(images, records, tmp_path):
    finish(records, images[0], cells=3)
    finish(records, images[1], cells=0)
    records.fail(images[2], "c.tif: broken")
    failed = sum_up(tmp_path / "out", images, records, {"settings": {"thresholds": 0.5}})
    assert failed == {str(images[2].path): "c.tif: broken"}
    with open(tmp_path / "out" / "summary.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"image": "a.tif", "cells": "3"},
            {"image": "b.tif", "cells": "0"},
        ]
    lines = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert lines == ["id,predicted", "a,1 1", "b,1 1"]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["images"], run["finished"], run["failed"]) == (3, 2, failed)
    assert run["settings"] == {"thresholds": 0.5}
    assert run["command"] and run["versions"]["numpy"] == np.__version__


def test_results_that_come_while_one_sums_up_are_not_lost(images, records, tmp_path, monkeypatch):
    finish(records, images[0])
    import runs.summary

    def write_rows(*args):
        original(*args)
        finish(records, images[1])  # another process ends at this moment

    original = runs.summary._write_rows
    monkeypatch.setattr(runs.summary, "_write_rows", write_rows)
    sum_up(tmp_path / "out", images, records, {})
    assert len((tmp_path / "out" / "summary.csv").read_text().splitlines()) == 3


def test_summary_row_against_known_cells():
    masks = [np.ones((4, 5), np.float32), np.ones((2, 5), np.float32)]
    offsets = np.array([[0, 0], [0, 3]])  # the second one's first row is under the first
    instances = Instances(
        (10, 10),
        np.zeros((2, 4), np.float32),
        np.array([0.9, 0.7], np.float32),
        np.array([1, 1]),
        masks,
        offsets,
    )
    image = np.zeros((10, 10, 3), np.uint8)
    row = summary_row(SegmentedImage("a", "a.png", image, instances, ("x", "y")), 1.23456)
    assert row == {
        "image": "a.png",
        "cells": 2,
        "cells x": 0,
        "cells y": 2,
        "confluence (%)": 25,
        "mean area (pixels)": 12.5,
        "mean area (um2)": None,
        "mean score": 0.8,
        "seconds": 1.235,
    }
    nothing = SegmentedImage("a", "a.png", image, Instances.empty((10, 10)), ("x", "y"))
    row = summary_row(nothing, 1)
    assert (row["cells"], row["confluence (%)"], row["mean area (pixels)"]) == (0, 0, None)


def test_what_was_changed_by_hand_is_not_written_again(images, records):
    image = images[0]
    assert records.start(image, sha256(image.path)) == set()
    finish(records, image)
    assert records.start(image, sha256(image.path)) == set()
    finish(records, image)
    image.files["kaggle"].write_text("corrected by hand")
    fewer = replace(image, files={})  # another --save knows of it, too
    assert records.start(fewer, sha256(image.path)) == set()
    records.finish(fewer, sha256(image.path), {})
    for _ in range(2):  # also once more
        assert records.start(image, sha256(image.path)) == {image.files["kaggle"]}
        records.finish(image, sha256(image.path), {})
    records.fail(image, "broken")
    assert records.start(image, sha256(image.path)) == {image.files["kaggle"]}
    with pytest.raises(InputError, match="a_kaggle.csv was corrected for another image"):
        records.start(image, "of another image")


def test_what_a_killed_run_has_written_is_written_again(images, records):
    image = images[0]
    finish(records, image)
    records.start(image, sha256(image.path))
    image.picture.write_text("of the run that was killed")
    assert records.start(image, sha256(image.path)) == set()


def test_the_digest_of_a_folder_reads_no_chunks(tmp_path, monkeypatch):
    for name in ("zarr.json", "0/c/0/0"):
        (tmp_path / "a.zarr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a.zarr" / name).write_text("x")
    monkeypatch.setattr("runs.records.sha256", None)
    _digest_of.cache_clear()
    before = digest_of(tmp_path / "a.zarr")
    os.utime(tmp_path / "a.zarr" / "0/c/0/0", (0, 0))
    _digest_of.cache_clear()
    assert digest_of(tmp_path / "a.zarr") != before


def test_images_that_another_run_did_without_a_submission(images, records, tmp_path):
    finish(records, images[0], cells=3)
    fewer = replace(images[1], files={})
    records.start(fewer, "")
    records.finish(fewer, sha256(fewer.path), {"image": "b.tif", "new": 1})
    sum_up(tmp_path / "out", images, records, {})
    lines = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert lines == ["id,predicted", "a,1 1"]
    with open(tmp_path / "out" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"image": "a.tif", "cells": "3", "new": ""}
    assert rows[1] == {"image": "b.tif", "cells": "", "new": "1"}
