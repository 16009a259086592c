"""`import_annotations.py` on folders as `infer_cis.py` and other programs leave them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from helpers import assert_one_line_error

import import_annotations
from cells.exports.formats import FORMATS
from cells.exports.segmented import SegmentedImage
from cells.exports.writers import WRITERS
from cells.imports.dataset import split_by_share
from cells.imports.formats import ENDINGS
from cells.instances import Instances
from cells.rle import rle_crop
from runs.label_files import find_label_files, list_sources
from runs.plan import plan_run
from training.data import load_training_data
from utils.files import write_json
from utils.script import InputError

SIZE = (12, 20)
NAMES = ("zebra", "ant")  # not in the order of the alphabet


def masks_of(number: int) -> list[np.ndarray]:
    """Two touching cells and a pixel, which move with the number; none for number 0."""
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 2:6, number : number + 4] = True
    masks[0, 3:5, number + 1 : number + 3] = False  # a ring
    masks[1, 6:9, number : number + 3] = masks[1, 10, 19] = True  # two pieces, touching the ring
    masks[2, 0, 19 - number] = True
    return list(masks) if number else []


def instances(masks: list[np.ndarray]) -> Instances:
    return Instances(
        SIZE,
        np.zeros((len(masks), 4), np.float32),
        np.linspace(0.9, 0.5, len(masks), dtype=np.float32),
        np.arange(len(masks)) % 2,
        [mask.astype(np.float32) for mask in masks],
        np.zeros((len(masks), 2), np.int64),
    )


@pytest.fixture
def images(tmp_path) -> dict[str, int]:
    """Images with the number of their masks; two have the same stem, two the same name."""
    numbers = {"a.png": 1, "a.tif": 2, "p1/b.png": 3, "p2/b.png": 4, "empty.png": 0}
    for name, number in numbers.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full(SIZE, 100 + number, np.uint8))
    return numbers


def infer(folder: Path, numbers: dict[str, int], *kinds: str, image_dir: str = "images") -> None:
    """Leave the files of a run over all images in `folder / "results"`."""
    out = folder / "results"
    out.mkdir()
    for planned in plan_run([str(folder / image_dir)], True, out, kinds):
        found = instances(masks_of(numbers[planned.file_name]))
        image = np.zeros((*SIZE, 3), np.uint8)
        result = SegmentedImage(planned.name, planned.file_name, image, found, NAMES)
        for kind, path in planned.files.items():
            WRITERS[kind](path, result)
        cv2.imwrite(str(planned.picture), image)
    (out / "run.json").write_text("{}")
    (out / "records").mkdir()
    (out / "records" / "a_png.json").write_text("{}")


def import_labels(monkeypatch, folder: Path, *options: str) -> Path:
    paths = ["--image_dir", folder / "images", "--labels", folder / "results"]
    out = ["--out", folder / "mine"]
    arguments = ["import_annotations.py", *paths, *out, *options]
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    import_annotations.main(import_annotations.parse_args())
    return folder / "mine"


def cells_of(loaded) -> dict[str, list[tuple]]:
    """Class and mask of every cell by the image's file name."""
    by_image = {}
    for record in [*loaded.train, *loaded.valid]:
        cells = []
        for label, rle in zip(record.labels, record.rles, strict=True):
            mask, (x, y) = rle_crop(rle)
            frame = np.zeros(SIZE, int)
            frame[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
            cells.append((loaded.class_names[label], frame.tolist()))
        by_image["/".join(record.path.parts[-2:])] = cells
    return by_image


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_run_is_imported_as_it_is(tmp_path, monkeypatch, images, kind):
    infer(tmp_path, images, kind)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    out = import_labels(monkeypatch, tmp_path, "--class_name", "thing")
    loaded = load_training_data(str(out), str(tmp_path / "images"), 0)  # as training does
    assert len(loaded.valid) == 1 and len(loaded.train) == 4
    nameless = kind in ("labels", "masks")
    for name, cells in cells_of(loaded).items():
        number = images.get(name, images.get(Path(name).name))
        expected = [
            ("thing" if nameless else NAMES[i % 2], mask.astype(int).tolist())
            for i, mask in enumerate(masks_of(number))
        ]
        assert cells == expected, name
    order = {"coco": NAMES, "labels": ("thing",), "masks": ("thing",)}
    assert loaded.class_names == order.get(kind, ("ant", "zebra"))
    assert before == {path: path.read_bytes() for path in before}


def test_classes_in_the_order_that_is_given(tmp_path, monkeypatch, images):
    infer(tmp_path, images, "geojson")
    out = import_labels(monkeypatch, tmp_path, "--classes", "zebra", "ant", "bee")
    loaded = load_training_data(str(out), str(tmp_path / "images"), 0)
    assert loaded.class_names == ("zebra", "ant", "bee")
    with pytest.raises(InputError, match="invalid label"):
        import_labels(monkeypatch, tmp_path, "--classes", "zebra", "--overwrite")


def test_two_formats_have_to_be_chosen_from(tmp_path, monkeypatch, images):
    infer(tmp_path, images, "labels", "rois", "coco")
    with pytest.raises(InputError, match="--format labels or rois or coco"):
        import_labels(monkeypatch, tmp_path)
    import_labels(monkeypatch, tmp_path, "--format", "rois")


@pytest.mark.parametrize("kind", ENDINGS)
def test_bad_files_are_reported_together_and_nothing_is_written(
    tmp_path, monkeypatch, images, kind, capsys
):
    infer(tmp_path, images, kind)
    bad = [tmp_path / "results" / f"{name}{FORMATS[kind].suffix}" for name in ("a_png", "p1_b")]
    for path in bad:
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="2 invalid label") as raised:
        import_labels(monkeypatch, tmp_path)
    assert all(any(str(path) in line for line in raised.value.details) for path in bad)
    assert not (tmp_path / "mine").exists()
    out = import_labels(monkeypatch, tmp_path, "--skip_invalid")
    assert "2 invalid label(s) left out" in capsys.readouterr().out
    assert len(cells_of(load_training_data(str(out), str(tmp_path / "images"), 0))) == 3


def test_label_images_of_other_programs(tmp_path, monkeypatch, images):
    labels = np.zeros(SIZE, np.uint16)
    labels[2:4, 2:4], labels[4:6, 4:6] = 7, 300
    folder = tmp_path / "results" / "p1"
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "b.tif", labels)  # called as the image in p1
    tifffile.imwrite(tmp_path / "results" / "notes.tif", labels)
    out = import_labels(monkeypatch, tmp_path, "--valid_share", "0")
    assert [path.name for path in out.iterdir()] == ["annotations_train_0.json"]
    coco = json.loads((out / "annotations_train_0.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["p1/b.png"]
    assert [row["bbox"] for row in coco["annotations"]] == [[2, 2, 2, 2], [4, 4, 2, 2]]


def test_cellpose_leaves_its_masks_beside_the_images(tmp_path, monkeypatch, images):
    labels = np.zeros(SIZE, np.uint16)
    labels[2:4, 2:4] = 1
    for name in ("a", "empty"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}_cp_masks.png"), labels)
    (tmp_path / "images" / "a.tif").unlink()
    (tmp_path / "results").symlink_to(tmp_path / "images")
    out = import_labels(monkeypatch, tmp_path, "--valid_share", "0.5")
    loaded = load_training_data(str(out), str(tmp_path / "images"), 0)
    assert cells_of(loaded).keys() == {"images/a.png", "images/empty.png"}


def test_one_coco_file_of_many_images(tmp_path, monkeypatch, images):
    infer(tmp_path, images, "coco")
    parts = [json.loads(p.read_text()) for p in sorted((tmp_path / "results").glob("*_coco.json"))]
    rows = [row for part in parts for row in part["annotations"]]
    whole = {
        "images": [part["images"][0] for part in parts],
        "annotations": [row | {"id": i} for i, row in enumerate(rows)],
        "categories": parts[0]["categories"],
    }
    (tmp_path / "cvat.json").write_text(json.dumps(whole))
    listed = tmp_path / "list.txt"
    listed.write_text("p1/b.png\r\n\nempty.png\n")
    options = "--labels", str(tmp_path / "cvat.json"), "--valid_list", str(listed)
    out = import_labels(monkeypatch, tmp_path, *options)
    loaded = load_training_data(str(out), str(tmp_path / "images"), 0)
    assert {record.path.name for record in loaded.valid} == {"b.png", "empty.png"}
    assert sum(len(record.rles) for record in loaded.train) == 9


def test_splits(tmp_path, monkeypatch, images):
    infer(tmp_path, images, "rois")
    out = import_labels(monkeypatch, tmp_path, "--valid_dir", "p1/")
    loaded = load_training_data(str(out), str(tmp_path / "images"), 0)
    assert [record.path.parts[-2:] for record in loaded.valid] == [("p1", "b.png")]
    with pytest.raises(InputError, match="p9"):
        import_labels(monkeypatch, tmp_path, "--valid_dir", "p9", "--overwrite")
    listed = tmp_path / "list.txt"
    listed.write_text("p1/b.png\nb.png\n")
    with pytest.raises(InputError, match="1 of 2") as raised:
        import_labels(monkeypatch, tmp_path, "--valid_list", str(listed), "--overwrite")
    assert raised.value.details == ["not labelled: b.png"]
    names = [f"{i}.png" for i in range(10)]
    drawn = split_by_share(names, 0.3)
    assert len(drawn) == 3 and split_by_share(names[::-1], 0.3) == drawn
    assert [len(split_by_share(names[:n], 0.01)) for n in (0, 1, 2)] == [0, 0, 1]
    assert [len(split_by_share(names, share)) for share in (0.0, 0.99, 1.0)] == [0, 9, 10]


def test_annotations_that_are_there_stay(tmp_path, monkeypatch, images):
    infer(tmp_path, images, "labels")
    out = import_labels(monkeypatch, tmp_path)
    with pytest.raises(InputError, match="--overwrite"):
        import_labels(monkeypatch, tmp_path)
    source = str(out / "annotations_train_0.json")
    before = Path(source).read_bytes()
    with pytest.raises(InputError, match="imported itself"):
        import_labels(monkeypatch, tmp_path, "--labels", source, "--overwrite")
    assert Path(source).read_bytes() == before


def test_files_that_belong_to_no_image(tmp_path, monkeypatch, images):
    infer(tmp_path, images, "labels")
    (tmp_path / "images" / "empty.png").unlink()
    with pytest.raises(InputError, match="1 invalid label") as raised:
        import_labels(monkeypatch, tmp_path)
    assert "empty_labels.tif: belongs to no image" in raised.value.details[0]
    with pytest.raises(InputError, match="expected"):
        import_labels(monkeypatch, tmp_path, "--format", "rois")


def test_the_script(start, run, tmp_path, images):
    infer(tmp_path, images, "rois")
    folders = "--image_dir", tmp_path / "images", "--labels", tmp_path / "results"
    done = start("import_annotations.py", *folders, "--out", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    train, valid = done.stdout.splitlines()
    assert "annotations_train_0.json: 4 images" in train
    assert "annotations_valid_0.json: 1 images" in valid
    (tmp_path / "results" / "a_png_rois.zip").write_bytes(b"")
    done = run("import_annotations.py", *folders, "--out", tmp_path / "other")
    assert_one_line_error(done, "--labels", "1 invalid label")
    assert "a_png_rois.zip" in done.stderr and not (tmp_path / "other").exists()


@pytest.mark.parametrize("place", ["link", "up/../run"])
def test_results_among_the_images_however_the_folder_is_spelled(
    tmp_path, monkeypatch, images, place
):
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "up").mkdir()
    (tmp_path / "link").symlink_to(run)
    cv2.imwrite(str(run / "a.tif"), np.full(SIZE, 100, np.uint8))
    cv2.imwrite(str(run / "a.png"), np.zeros((*SIZE, 3), np.uint8))  # the run's picture
    tifffile.imwrite(run / "a_labels.tif", masks_of(1)[0].astype(np.uint16))
    record = {"sha256": "", "settings": "", "finished": False}
    write_json(run / "records" / "a.json", {**record, "outputs": ["a.png", "a_labels.tif"]})
    folder = tmp_path / place
    for labels in (folder, folder / "a_labels.tif"):
        sources = list_sources(folder, labels)
        assert [source.file_name for source in sources] == ["a.tif"]
        assert list(find_label_files(labels, sources, folder, None).of_image) == ["a.tif"]


def test_images_beside_their_labels_in_a_folder_of_the_images(tmp_path):
    for name in ("p1/a.png", "p2/b.png", "p1/labels/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full(SIZE, 100, np.uint8))
    tifffile.imwrite(tmp_path / "p2" / "b_labels.tif", masks_of(1)[0].astype(np.uint16))
    (tmp_path / "p2" / "_labels.tif").touch()  # a label image of nothing

    def names(labels: str) -> list[str]:
        return [source.file_name for source in list_sources(tmp_path, tmp_path / labels)]

    assert names("p2") == ["p1/a.png", "p1/labels/a.png", "p2/b.png"]
    assert names("p2/b_labels.tif") == ["p1/a.png", "p1/labels/a.png", "p2/_labels.tif", "p2/b.png"]
    assert "p1/labels/a.png" not in names("p1/labels")  # a label image, called as its image is


def test_a_validation_file_of_an_earlier_import_is_told(tmp_path, monkeypatch, images, capsys):
    infer(tmp_path, images, "labels")
    options = ("--valid_share", "0", "--overwrite")
    import_labels(monkeypatch, tmp_path, *options)
    assert "annotations_valid_0.json is not written" in capsys.readouterr().out
    import_labels(monkeypatch, tmp_path, "--overwrite")
    import_labels(monkeypatch, tmp_path, *options)
    assert "annotations_valid_0.json stays as it was" in capsys.readouterr().out
