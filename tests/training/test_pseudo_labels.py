"""Pseudo labels: what is sure and unsure, and how they join the original annotations."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import full_frames

from cells.annotations import load_annotations
from cells.drawing import LEGEND_HEIGHT
from cells.instances import Candidates, Instances
from training.pseudo_labels import (
    SURE,
    UNSURE,
    Rules,
    annotated_already,
    as_part,
    check_classes,
    check_places,
    draw_part,
    find_labels,
    next_round,
    reason_to_leave_out,
)
from training.pseudo_parts import Parts
from utils.script import InputError

NAMES = ("round", "long")
IMAGE = np.zeros((20, 30, 3), np.uint8)


class KnownEnsemble:
    """Answers with one cell of each score; class `long` decides, whose threshold is 0.8."""

    class_names = NAMES
    post_processing = SimpleNamespace(confidence={"round": 0.5, "long": 0.8, "default": 0.5})

    def __init__(self, scores: tuple[float, ...]) -> None:
        masks = np.zeros((len(scores), 20, 30), np.float32)
        for i, mask in enumerate(masks):
            mask[2:6, 4 * i + 1 : 4 * i + 4] = 0.9
        self.cells = full_frames(masks, np.array(scores))
        self.cells = replace(self.cells, labels=np.ones(len(scores), np.int64))

    def candidates(self, image: np.ndarray, least_score: float) -> Candidates:
        reached = self.cells.scores >= np.float32(min(least_score, 0.8))
        return Candidates(self.cells[reached], 1, 0.8)


def scores_of(rows: list[dict], crowd: int) -> list[float]:
    return [row["score"] for row in rows if row["iscrowd"] == crowd]


def labelled(scores: tuple[float, ...], rules: Rules, rescore=None) -> list[dict]:
    labels = find_labels(KnownEnsemble(scores), IMAGE, rules, rescore)
    return as_part(labels, NAMES)["annotations"]


@pytest.mark.parametrize(
    ("rules", "sure", "unsure"),
    [
        (Rules({}), [0.9, 0.8], [0.79, 0.6, 0.4]),
        (Rules({}, unsure_share=1.0), [0.9, 0.8], []),
        (Rules({}, unsure_share=0.0), [0.9, 0.8], [0.79, 0.6, 0.4, 0.39, 0.1]),
        (Rules({"long": 0.6}), [0.9, 0.8, 0.79, 0.6], [0.4, 0.39]),
        (Rules({"default": 0.85}), [0.9], [0.8, 0.79, 0.6]),
        (Rules({"round": 0.1}), [0.9, 0.8], [0.79, 0.6, 0.4]),
    ],
)
def test_the_least_score_of_the_deciding_class_divides(rules, sure, unsure):
    rows = labelled((0.9, 0.8, 0.79, 0.6, 0.4, 0.39, 0.1), rules)
    assert scores_of(rows, 0) == sure
    assert scores_of(rows, 1) == unsure


def test_a_known_class_replaces_the_models_word_and_brings_its_threshold():
    rows = labelled((0.9, 0.6, 0.5, 0.4, 0.2), Rules({}, known_class="round"))
    assert scores_of(rows, 0) == [0.9, 0.6, 0.5]
    assert scores_of(rows, 1) == [0.4]
    assert {row["category"] for row in rows} == {"round"}


def test_a_second_level_decides_on_what_reaches_the_models_thresholds():
    def rescore(cells: Instances, image: np.ndarray) -> Instances:
        assert cells.scores.tolist() == pytest.approx([0.9, 0.85, 0.82])
        return replace(cells, scores=np.array([0.2, 0.7, 0.3], np.float32))

    rows = labelled((0.9, 0.85, 0.82, 0.6, 0.3), Rules({}), rescore)
    assert scores_of(rows, 0) == [0.7]
    assert scores_of(rows, 1) == [0.3, 0.6]  # one by the second level, one by the models


def test_no_cells():
    assert labelled((), Rules({})) == []


def coco(**extra) -> dict:
    images = [{"id": "a", "file_name": "train/a.png", "width": 30, "height": 20}]
    annotation = {
        "id": 41,
        "image_id": "a",
        "category_id": 7,
        "iscrowd": 0,
        "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]],
        "note": "kept as it is",
    }
    categories = [{"id": 7, "name": "long"}, {"id": 9, "name": "round"}]
    return {"images": images, "annotations": [annotation], "categories": categories, **extra}


def test_the_next_round_has_the_original_and_loads(tmp_path):
    import json

    import cv2

    part = as_part(find_labels(KnownEnsemble((0.9, 0.5)), IMAGE, Rules({})), NAMES)
    original = coco(info={"year": 2021})
    result = next_round(original, {"train/a.png": part, "more/b.tif": part}, {"weights": ["w"]})
    assert result["images"][0] == original["images"][0]
    assert result["annotations"][0] == original["annotations"][0]
    assert result["info"] == {"year": 2021, "pseudo_labels": {"weights": ["w"]}}
    assert [image["id"] for image in result["images"]] == ["a", "train/a.png", "more/b.tif"]
    assert [row["id"] for row in result["annotations"]] == [41, 42, 43, 44, 45]
    assert all(row["pseudo"] and row["category_id"] == 7 for row in result["annotations"][1:])
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(result))
    for name in ("train/a.png", "more/b.tif"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), IMAGE)
    loaded = load_annotations(path, tmp_path).images
    assert [list(image.iscrowd) for image in loaded] == [[False], [False, True], [False, True]]
    np.testing.assert_array_equal(loaded[2].boxes, [[1, 2, 4, 6], [5, 2, 8, 6]])


def test_a_later_round_replaces_pseudo_labels_of_the_same_images():
    part = as_part(find_labels(KnownEnsemble((0.9,)), IMAGE, Rules({})), NAMES)
    first = next_round(coco(), {"b.png": part, "c.png": part}, {})
    better = as_part(find_labels(KnownEnsemble((0.9, 0.95)), IMAGE, Rules({})), NAMES)
    second = next_round(first, {"b.png": better}, {})
    assert [image["id"] for image in second["images"]] == ["a", "c.png", "b.png"]
    assert len({row["id"] for row in second["annotations"]}) == len(second["annotations"]) == 4


def test_a_picture_shows_sure_and_unsure_cells():
    part = as_part(find_labels(KnownEnsemble((0.9, 0.5, 0.6)), IMAGE, Rules({})), NAMES)
    picture = draw_part(IMAGE, part)
    colours = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert {SURE, UNSURE} <= colours
    only_sure = {**part, "annotations": [r for r in part["annotations"] if not r["iscrowd"]]}
    drawn = draw_part(IMAGE, only_sure)[:-LEGEND_HEIGHT].reshape(-1, 3)
    colours = {tuple(pixel) for pixel in drawn.tolist()}
    assert SURE in colours and UNSURE not in colours


def test_images_with_few_or_doubtful_cells_are_left_out():
    rows = [
        {"score": 0.9, "iscrowd": 0},
        {"score": 0.7, "iscrowd": 0},
        {"score": 0.1, "iscrowd": 1},
    ]
    part = {"annotations": rows}
    assert reason_to_leave_out(part, 2, 0.8) is None
    assert reason_to_leave_out(part, 3, 0.0) == "2 cells"
    assert reason_to_leave_out(part, 1, 0.81) == "mean score 0.800"
    assert reason_to_leave_out({"annotations": rows[2:]}, 1, 0.0) == "0 cells"


def test_annotated_images_are_recognised_by_place_and_by_content(tmp_path):
    contents = {
        "a.png": b"1",
        "b.png": b"22",
        "copy of b.png": b"22",
        "c.png": b"33",
        "d.png": b"4",
    }
    paths = {name: tmp_path / name for name in contents}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    known = {paths["a.png"]: "train.json", paths["b.png"]: "valid.json", tmp_path / "gone": "x"}
    listed = [paths[name] for name in ("a.png", "copy of b.png", "c.png", "d.png")]
    found = annotated_already(listed, known)
    assert found == {paths["a.png"]: "train.json", paths["copy of b.png"]: "valid.json"}


def test_other_classes_and_places_are_refused(tmp_path):
    check_classes(NAMES[::-1], coco())
    with pytest.raises(InputError, match="classes"):
        check_classes(("round",), coco())
    with pytest.raises(InputError, match="train/a.png.*--train_image_dir"):
        check_places(coco(), tmp_path / "annotations.json", tmp_path)


def test_parts_are_found_again_by_content_and_way_of_making(tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"pixels")
    folder = tmp_path / "parts"
    part = {"width": 3, "height": 2, "annotations": []}
    store = Parts(folder, {"weights": "a"})
    assert store.load(image) is None
    store.save(image, part)
    (folder / ".killed-x.json").write_text("{")
    assert Parts(folder, {"weights": "a"}).load(image) == part
    assert not (folder / ".killed-x.json").exists()
    other = Parts(folder, {"weights": "b"})
    assert other.load(image) is None
    image.write_bytes(b"others")
    assert store.load(image) is None
    other.save(image, part)
    other.forget_others()
    assert len(list(folder.iterdir())) == 1
