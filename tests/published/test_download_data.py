"""download_data.sh: archives of all kinds, from a server on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import write_shapes
from web_server import Server, download, errors, image_bytes, tree, zip_bytes

ANNOTATIONS = [f"annotations_semi_supervised_round{i}" for i in (1, 2)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """What the three archives hold, without top folders: name in the archive to content."""
    folder = write_shapes(tmp_path_factory.mktemp("data") / "shapes", 2, 1)
    annotations = {}
    for path in (folder / "annotations").iterdir():
        coco = json.loads(path.read_text())
        for image in coco["images"]:
            image["file_name"] = f"train/{image['file_name']}"
        annotations[path.name] = json.dumps(coco).encode()
    images = {f"train/{path.name}": path.read_bytes() for path in (folder / "images").iterdir()}
    return {"images": images, **dict.fromkeys(ANNOTATIONS, annotations)}


def archives(data: dict[str, dict[str, bytes]], top: str = "") -> dict[str, bytes]:
    return {
        f"{name}.zip": zip_bytes({top + path: content for path, content in files.items()})
        for name, files in data.items()
    }


@pytest.mark.parametrize("top", ["", "any/", "data/nested one/", "./", "windows\\"])
def test_data_whatever_the_top_folder(server: Server, tmp_path: Path, data: dict, top: str) -> None:
    server.files = archives(data, top)
    done = download("data", tmp_path, server.url)
    assert not errors(done)
    for name, files in data.items():
        unpacked = tmp_path / "data" / name
        contents = {p.relative_to(unpacked).as_posix(): p for p in unpacked.rglob("*.*")}
        assert {name: p.read_bytes() for name, p in contents.items()} == files
    assert "2 images, 12 cells (disc, box, bar)" in done.stdout
    assert not list((tmp_path / "data").glob(".*"))

    server.requests.clear()
    before = tree(tmp_path)
    assert not errors(download("data", tmp_path, server.url))
    assert not server.requests and tree(tmp_path) == before


def test_data_with_rubbish_and_loose_images(server: Server, tmp_path: Path, data: dict) -> None:
    loose = {f"semi/{Path(name).name}": content for name, content in data["images"].items()}
    rubbish = {"__MACOSX/semi/._train0.png": b"?", "semi/.DS_Store": b"?"}
    server.files = archives(data) | {"images.zip": zip_bytes({**loose, **rubbish})}
    assert not errors(download("data", tmp_path, server.url))
    names = {p.relative_to(tmp_path / "data/images") for p in (tmp_path / "data/images").rglob("*")}
    assert names == {Path("train"), *map(Path, data["images"])}


@pytest.mark.parametrize("name", ["../../outside.png", "/outside.png", "a\\..\\..\\outside.png"])
def test_archive_that_leaves_its_folder(
    server: Server, tmp_path: Path, data: dict, name: str
) -> None:
    server.files = archives(data)
    server.files["images.zip"] = zip_bytes({**data["images"], name: b"?"})
    lines = errors(download("data", tmp_path / "root", server.url))
    assert set(lines) == {"images.zip"} and "outside.png" in lines["images.zip"]
    assert not (tmp_path / "root/data/images").exists()
    assert not list(tmp_path.rglob("*outside*"))


def test_archive_of_something_else(server: Server, tmp_path: Path, data: dict) -> None:
    server.files = archives(data)
    server.files[f"{ANNOTATIONS[0]}.zip"] = zip_bytes({"readme.txt": b"?"})
    server.files["images.zip"] = b"text"
    lines = errors(download("data", tmp_path, server.url))
    assert set(lines) == {f"{ANNOTATIONS[0]}.zip", "images.zip"}
    assert "annotations_*.json" in lines[f"{ANNOTATIONS[0]}.zip"]
    assert "damaged" in lines["images.zip"]
    assert tree(tmp_path / "data") == sorted(
        ["downloads.json", ANNOTATIONS[1], *(f"{name}.zip" for name in ANNOTATIONS)]
        + [f"{ANNOTATIONS[1]}/{name}" for name in data[ANNOTATIONS[1]]]
    )


def test_existing_folder_is_left_alone(server: Server, tmp_path: Path, data: dict) -> None:
    server.files = archives(data)
    own = tmp_path / "data" / "images" / "train"
    own.mkdir(parents=True)
    (own / "mine.png").write_bytes(image_bytes())
    done = download("data", tmp_path, server.url)
    assert "images: is there already and stays as it is" in done.stdout
    assert "images.zip" not in server.names()
    assert tree(tmp_path / "data" / "images") == ["train", "train/mine.png"]
    assert done.returncode == 1 and "train0.png: no such image file" in done.stderr
    assert "Traceback" not in done.stderr
