"""One file over the network: no space, other addresses, parts, Google Drive's pages."""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import pytest
import requests
from web_server import PAGE, Server, tree, zip_bytes

from published.transfer import by_hand, downloaded, google_drive
from utils.script import InputError


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
    with downloaded(urls, tmp_path / "a") as incoming:
        assert incoming.path.read_bytes() == b"content" and incoming.url == urls[1]
    assert tree(tmp_path) == ["a"]


def test_parts_of_two_runs(server: Server, tmp_path: Path) -> None:
    for i in "12":
        (tmp_path / f"incomplete_a{8 * i}.part").write_bytes(b"?")
    server.files["a"] = b"content"
    with downloaded([f"{server.url}a"], tmp_path / "a"):
        pass
    assert tree(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"content"


def test_a_run_that_was_killed_after_the_last_byte(server: Server, tmp_path: Path) -> None:
    """gdown leaves such a file as it is, and hashes nothing of it."""
    (tmp_path / "incomplete_a").write_bytes(b"content")
    server.files["a"] = b"content"
    with downloaded([f"{server.url}a"], tmp_path / "a") as incoming:
        assert incoming.digest == hashlib.sha256(b"content").hexdigest()
    assert tree(tmp_path) == ["a"]


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
    with downloaded(google_drive("1" * 33), tmp_path / "a.zip") as incoming:
        assert incoming.path.read_bytes() == b"content"
        assert incoming.digest == hashlib.sha256(b"content").hexdigest()
    assert "id=" + "1" * 33 in asked[0] and "confirm=t" in asked[-1]
