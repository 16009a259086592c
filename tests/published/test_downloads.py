"""download_models.sh, and what both download scripts do, with a server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from helpers import ROOT, assert_one_line_error
from web_server import PAGE, Server, checkpoint_bytes, download, errors, image_bytes, tree

MODEL_FILES = {
    "published_catboost.pkl": b"\x80\x04K\x01.",
    "published_features.csv": b"features\nbox_score\n",
    "7ae19de7bc2a.png": image_bytes(1),
    "d48ec7815252.png": image_bytes(2),
    "d8bfd1dafdc4.png": image_bytes(3),
}


@pytest.fixture
def skip_weights(tmp_path: Path) -> Path:
    """A root where the converted models are there already: only small files are asked for."""
    folder = tmp_path / "root" / "models" / "pretrained_models"
    folder.mkdir(parents=True)
    for i in (1, 2):
        (folder / f"pseudo_round{i}_model.pth").write_bytes(b"the user's")
    return tmp_path / "root"


@pytest.mark.parametrize(("what", "count"), [("models", 8), ("data", 3)])
def test_no_server(tmp_path: Path, what: str, count: int) -> None:
    options = ("--livecell",) if what == "models" else ()
    lines = errors(download(what, tmp_path / "root", "http://127.0.0.1:9", *options))
    assert len(lines) == count
    assert all(
        "cannot be reached" in line and "check the network" in line for line in lines.values()
    )
    assert tree(tmp_path) == []


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
    left = sorted(path.suffix for path in folder.iterdir())
    assert left == [".csv", ".json", ".pkl"], "a part is left behind"


def test_cut_connection_is_tried_again_at_once(server: Server, skip_weights: Path) -> None:
    name = "published_features.csv"
    server.files = {**MODEL_FILES, name: b"features\n" * 500_000}
    server.cuts[name] = 1
    assert not errors(download("models", skip_weights, server.url))
    ranges = [wanted for _, wanted in server.requests if wanted]
    assert len(ranges) == 1 and ranges != ["bytes=0-"]
    manifest = json.loads((skip_weights / "models/pretrained_models/downloads.json").read_text())
    digest = hashlib.sha256(server.files[name]).hexdigest()
    assert manifest[f"2nd_level_model/{name}"] == digest


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
