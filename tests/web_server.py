"""A web server on this machine, files for it, and the download scripts run against it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from helpers import ROOT
from PIL import Image

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
