"""download_models and download_data against a server on this machine; no network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import torch
from helpers import ROOT, assert_one_line_error, write_shapes
from PIL import Image

from published.download_transfer import by_hand, downloaded
from published.downloads import google_drive
from utils.script import InputError

ANNOTATIONS = [f"annotations_semi_supervised_round{i}" for i in (1, 2)]
PAGE = b"<!DOCTYPE html><html><body>Quota exceeded</body></html>"


class Server(ThreadingHTTPServer):
    """Serves `files`; cuts the connection after half of what is asked, `cuts` times a file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, int] = {}
        self.knows_ranges = True
        self.requests: list[tuple[str, str | None]] = []  # name, range

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def names(self) -> set[str]:
        return {name for name, _ in self.requests}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/"), self.headers["Range"]
        self.server.requests.append((name, wanted))
        if name not in self.server.files:
            return self.send_error(404)
        content = self.server.files[name]
        first = 0
        if wanted and self.server.knows_ranges:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if self.server.cuts.get(name):
            self.server.cuts[name] -= 1
            content = content[: (first + len(content)) // 2]
        self.wfile.write(content[first:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def image_bytes(value: int = 0, size: tuple[int, int] = (128, 96)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def checkpoint_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": {"weight": torch.zeros(3)}}, buffer)
    return buffer.getvalue()


MODEL_FILES = {
    "published_catboost.pkl": b"\x80\x04K\x01.",
    "published_features.csv": b"features\nbox_score\n",
    "7ae19de7bc2a.png": image_bytes(1),
    "d48ec7815252.png": image_bytes(2),
    "d8bfd1dafdc4.png": image_bytes(3),
}


def download(
    what: str, root: Path, mirror: str | None, *options: str
) -> subprocess.CompletedProcess:
    address = ("--mirror", mirror) if mirror else ()
    command = ["bash", ROOT / f"download_{what}.sh", "--root", root, *address, *options]
    environment = {**os.environ, "PYTHON": sys.executable, "TQDM_DISABLE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def errors(done: subprocess.CompletedProcess) -> dict[str, str]:
    """Error lines by the name of the file; nothing else is on stderr."""
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines), done.stderr
    assert done.returncode == (1 if lines else 0)
    table = {Path(line.split(": ")[1]).name: line for line in lines}
    assert len(table) == len(lines), done.stderr
    return table


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def skip_weights(tmp_path: Path) -> Path:
    """A root where the converted models are there already: only small files are asked for."""
    folder = tmp_path / "root" / "models" / "pretrained_models"
    folder.mkdir(parents=True)
    for i in (1, 2):
        (folder / f"pseudo_round{i}_model.pth").write_bytes(b"the user's")
    return tmp_path / "root"


@pytest.mark.parametrize("what", ["models", "data"])
def test_help_is_quick(what: str) -> None:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, ROOT / "src" / f"download_{what}.py", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "--mirror" in done.stdout
    assert time.perf_counter() - start < 1  # 0.1 s on an idle machine


@pytest.mark.parametrize(("what", "count"), [("models", 8), ("data", 3)])
def test_no_server(tmp_path: Path, what: str, count: int) -> None:
    start = time.perf_counter()
    options = ("--livecell",) if what == "models" else ()
    lines = errors(download(what, tmp_path / "root", "http://127.0.0.1:9", *options))
    assert len(lines) == count
    assert all(
        "cannot be reached" in line and "check the network" in line for line in lines.values()
    )
    assert tree(tmp_path) == []
    assert time.perf_counter() - start < 10


def test_bad_mirror(tmp_path: Path) -> None:
    assert_one_line_error(download("data", tmp_path, "ftp://example.org"), "--mirror")


def test_python_that_does_not_run() -> None:
    done = subprocess.run(
        ["bash", ROOT / "download_data.sh"],
        env={**os.environ, "PYTHON": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert_one_line_error(done, "/nonexistent", "install_libs.sh")


def test_good_files_are_fetched_once(server: Server, skip_weights: Path) -> None:
    server.files = dict(MODEL_FILES)
    assert not errors(download("models", skip_weights, server.url))
    assert server.names() == set(MODEL_FILES)
    manifest = json.loads((skip_weights / "models/pretrained_models/downloads.json").read_text())
    assert len(manifest) == len(MODEL_FILES)
    for name, digest in manifest.items():
        content = (skip_weights / name).read_bytes()
        assert content == MODEL_FILES[Path(name).name]
        assert digest == hashlib.sha256(content).hexdigest()
    umask = os.umask(0)
    os.umask(umask)
    path = skip_weights / "2nd_level_model" / "published_catboost.pkl"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask

    server.requests.clear()
    before = tree(skip_weights)
    assert not errors(download("models", skip_weights, server.url))
    assert not server.requests and tree(skip_weights) == before
    model = skip_weights / "models/pretrained_models/pseudo_round1_model.pth"
    assert model.read_bytes() == b"the user's"


def test_one_failure_does_not_stop_the_others(server: Server, skip_weights: Path) -> None:
    server.files = {**MODEL_FILES, "published_features.csv": PAGE, "d48ec7815252.png": b"text"}
    del server.files["published_catboost.pkl"]
    lines = errors(download("models", skip_weights, server.url))
    assert set(lines) == {"published_catboost.pkl", "published_features.csv", "d48ec7815252.png"}
    assert "web page" in lines["published_features.csv"]
    assert "try again tomorrow" in lines["published_features.csv"]
    assert "404" in lines["published_catboost.pkl"]
    assert "damaged" in lines["d48ec7815252.png"]
    assert len(server.requests) == len(MODEL_FILES), "tried again where it cannot help"
    assert not (skip_weights / "2nd_level_model").exists()
    assert sorted(p.name for p in (skip_weights / "demo_images").iterdir()) == [
        "7ae19de7bc2a.png",
        "d8bfd1dafdc4.png",
    ]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_cut_connection(server: Server, skip_weights: Path, knows_ranges: bool) -> None:
    name = "published_features.csv"
    server.files = {**MODEL_FILES, name: b"features\n" * 500_000}
    server.cuts[name] = 99
    server.knows_ranges = knows_ranges
    lines = errors(download("models", skip_weights, server.url))
    assert set(lines) == {name} and "run this again" in lines[name]
    folder = skip_weights / "2nd_level_model"
    assert not (folder / name).exists()
    assert list(folder.glob("incomplete_*.part")) or not knows_ranges

    server.cuts.clear()
    server.requests.clear()
    assert not errors(download("models", skip_weights, server.url))
    assert server.names() == {name}
    assert (folder / name).read_bytes() == server.files[name]
    assert not knows_ranges or any(wanted for _, wanted in server.requests)
    assert len(list(folder.iterdir())) == 2, "a part is left behind"


def test_cut_connection_is_tried_again_at_once(server: Server, skip_weights: Path) -> None:
    name = "published_features.csv"
    server.files = {**MODEL_FILES, name: b"features\n" * 500_000}
    server.cuts[name] = 1
    assert not errors(download("models", skip_weights, server.url))
    ranges = [wanted for _, wanted in server.requests if wanted]
    assert len(ranges) == 1 and ranges != ["bytes=0-"]


def test_changed_file_is_reported(server: Server, skip_weights: Path) -> None:
    server.files = dict(MODEL_FILES)
    download("models", skip_weights, server.url)
    path = skip_weights / "2nd_level_model" / "published_features.csv"
    path.write_text("features\nother\n")
    line = errors(download("models", skip_weights, server.url))[path.name]
    assert "SHA-256 differs" in line and "delete it" in line and "downloads.json" in line

    path.unlink()
    server.files[path.name] = b"features\nanother version\n"
    line = errors(download("models", skip_weights, server.url))[path.name]
    assert "another file than at first" in line and not path.exists()

    server.files[path.name] = MODEL_FILES[path.name]
    assert not errors(download("models", skip_weights, server.url))


def test_file_put_there_by_hand(server: Server, skip_weights: Path) -> None:
    server.files = dict(MODEL_FILES)
    folder = skip_weights / "2nd_level_model"
    folder.mkdir()
    (folder / "published_features.csv").write_text("features\nby hand\n")
    (folder / "published_catboost.pkl").write_bytes(PAGE)
    lines = errors(download("models", skip_weights, server.url))
    assert set(lines) == {"published_catboost.pkl"}
    assert "web page" in lines["published_catboost.pkl"]
    assert (folder / "published_catboost.pkl").read_bytes() == PAGE
    manifest = json.loads((skip_weights / "models/pretrained_models/downloads.json").read_text())
    assert "2nd_level_model/published_features.csv" in manifest


def test_broken_manifest(server: Server, skip_weights: Path) -> None:
    manifest = skip_weights / "models/pretrained_models/downloads.json"
    manifest.write_text("[1]")
    assert_one_line_error(download("models", skip_weights, server.url), str(manifest), "delete it")


def test_checkpoint_that_cannot_be_converted(server: Server, skip_weights: Path) -> None:
    folder = skip_weights / "models" / "pretrained_models"
    (folder / "pseudo_round1_model.pth").unlink()
    original = "pseudo_round1_model_final.pth"
    server.files = {**MODEL_FILES, original: checkpoint_bytes()}
    lines = errors(download("models", skip_weights, server.url))
    assert set(lines) == {"pseudo_round1_model.pth"}
    assert "not converted" in lines["pseudo_round1_model.pth"]
    assert (folder / "detectron2" / original).read_bytes() == server.files[original]
    assert not (folder / "pseudo_round1_model.pth").exists()

    server.requests.clear()
    assert set(errors(download("models", skip_weights, server.url))) == {"pseudo_round1_model.pth"}
    assert not server.requests


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


def test_no_space(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["a.zip"] = zip_bytes({"a": bytes(2**21)})
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="a.zip: .* free; make room"):
        with downloaded([f"{server.url}a.zip"], tmp_path / "new" / "a.zip"):
            pass
    assert not (tmp_path / "new" / "a.zip").exists()
    assert [wanted for _, wanted in server.requests] == [None], "tried again"


def test_second_address_where_the_first_is_not_there(server: Server, tmp_path: Path) -> None:
    server.files["master/a"] = b"content"
    urls = [f"{server.url}{branch}/a" for branch in ("main", "master")]
    with downloaded(urls, tmp_path / "a") as (incoming, url):
        assert incoming.read_bytes() == b"content" and url == urls[1]
    assert tree(tmp_path) == ["a"]


def test_parts_of_two_runs(server: Server, tmp_path: Path) -> None:
    for i in "12":
        (tmp_path / f"incomplete_a{8 * i}.part").write_bytes(b"?")
    server.files["a"] = b"content"
    with downloaded([f"{server.url}a"], tmp_path / "a"):
        pass
    assert tree(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"content"


def drive_answer(content: bytes, kind: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer.raw, answer.url = 200, io.BytesIO(content), "https://example.org"
    answer.headers.update({"Content-Type": kind, "Content-Length": str(len(content))})
    if kind != "text/html":
        answer.headers["Content-Disposition"] = 'attachment; filename="a.zip"'
    return answer


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        b'<p class="uc-error-subcaption">Too many users have viewed this file recently.</p>',
        b"<html>https://accounts.google.com Sign in</html>",
    ],
)
def test_google_drive_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: bytes, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(requests.Session, "get", lambda *_, **__: drive_answer(page, "text/html"))
    urls, path = google_drive("1" * 33), tmp_path / "new" / "a.zip"
    with pytest.raises(InputError, match="shows a page") as caught, downloaded(urls, path):
        pass
    assert by_hand(urls[0], path) in str(caught.value)
    assert tree(tmp_path) == [] and capfd.readouterr() == ("", "")


def test_google_drive_asks_for_confirmation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = (
        b'<form id="download-form" action="https://drive.usercontent.google.com/download">'
        b'<input type="hidden" name="confirm" value="t"></form>'
    )
    asked = []

    def get(_session: requests.Session, url: str, **_: object) -> requests.Response:
        asked.append(url)
        confirmed = "confirm=t" in url
        return drive_answer(
            *((b"content", "application/zip") if confirmed else (form, "text/html"))
        )

    monkeypatch.setattr(requests.Session, "get", get)
    with downloaded(google_drive("1" * 33), tmp_path / "a.zip") as (incoming, _):
        assert incoming.read_bytes() == b"content"
    assert "id=" + "1" * 33 in asked[0] and "confirm=t" in asked[-1]
