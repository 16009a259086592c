"""One file from the web: fetched whole or continued, hashed on the way, or why it did not come."""

from __future__ import annotations

import glob
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from utils.files import atomic_path, check_space, sha256
from utils.script import InputError

RETRIES = 2  # of a connection that breaks off
TIMEOUT = (5, 60)  # seconds to connect, and between two pieces of a file
# what gdown says where the server cannot continue a part, or two runs at a time each left one
UNUSABLE_PARTS = ("byte range", "multiple temporary files")


class Incoming(NamedTuple):
    """A file that has come and has yet to be checked: where it is, its address and SHA-256."""

    path: Path
    url: str
    digest: str


def google_drive(file_id: str) -> tuple[str, ...]:
    """Address of a shared file, for `Download.urls`; it opens in a browser, too."""
    return (f"https://drive.google.com/file/d/{file_id}/view",)


@contextmanager
def downloaded(urls: Sequence[str], path: Path) -> Iterator[Incoming]:
    """Download, and yield the file under a temporary name; rename it to `path` on success only.

    What came before a connection broke stays beside `path` as a `.part` file, and the next run goes
    on from there. Any other failure leaves nothing behind.

    Args:
        urls: Google Drive and other addresses; the next one is tried where one answers 404.
        path: where the file is to be; its folder is created.

    Raises:
        InputError: the reason and the remedy.
    """
    place = path.with_name(f"incomplete_{path.name}")
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield _fetch(urls, place, path)
        with atomic_path(path) as temporary:  # for its permissions: gdown's files are private
            place.replace(temporary)
    finally:
        place.unlink(missing_ok=True)
        _remove_parts(place, only_empty=True)
        for folder in missing:  # the deepest first
            if not any(folder.iterdir()):
                folder.rmdir()


def _fetch(urls: Sequence[str], place: Path, path: Path) -> Incoming:
    """Download from the first address that exists."""
    url, *others = urls
    try:
        return Incoming(place, url, _download(url, place, path))
    except InputError:
        raise
    except Exception as error:  # requests, gdown and what reads its pages raise many kinds
        if others and _status(error) == 404:
            return _fetch(others, place, path)
        raise InputError(f"{path}: {_explain(error, url, path)}") from error


def _download(url: str, place: Path, path: Path) -> str:
    """Continue what an earlier run has left, or start again where that is of no use."""
    from gdown.exceptions import DownloadError

    try:
        return _download_once(url, place, path)
    except DownloadError as error:
        if not any(words in str(error) for words in UNUSABLE_PARTS):
            raise
    _remove_parts(place)
    return _download_once(url, place, path)


def _download_once(url: str, place: Path, path: Path) -> str:
    """Download with gdown; returns the SHA-256, which is taken on the way."""
    import gdown
    from tqdm import tqdm

    if place.exists():  # a run was killed after the last byte; gdown would hash nothing of it
        return sha256(place)
    digest = hashlib.sha256()
    bar = tqdm(desc=path.name, unit="B", unit_scale=True, leave=False, disable=None)

    def progress(done: int, total: int | None) -> None:
        if total is not None:
            check_space(path, total - done)
        bar.total = total
        bar.update(done - bar.n)

    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the parser of Google's pages
        gdown.download(
            url,
            str(place),
            quiet=True,
            use_cookies=False,
            resume=True,
            retries=RETRIES,
            timeout=TIMEOUT,
            progress=progress,
            hasher=digest,
        )
    return digest.hexdigest()


def _remove_parts(place: Path, only_empty: bool = False) -> None:
    for part in place.parent.glob(f"{glob.escape(place.name)}*.part"):
        if not (only_empty and part.stat().st_size):
            part.unlink()


def _status(error: Exception) -> int | None:
    from requests import HTTPError

    return error.response.status_code if isinstance(error, HTTPError) else None


def _explain(error: Exception, url: str, path: Path) -> str:
    """Reason and remedy."""
    from gdown.exceptions import DownloadError, FileURLRetrievalError
    from requests import HTTPError, RequestException
    from urllib3.exceptions import MaxRetryError

    host = urlsplit(url).netloc
    # after its retries gdown raises an error of its own on top of the network's
    causes = [cause for cause in (error, error.__cause__) if cause and cause.args]
    refused = next((c.args[0] for c in causes if isinstance(c.args[0], MaxRetryError)), None)
    if refused:  # no connection at all: no network, unknown name, certificate, proxy
        reason = str(refused.reason).rpartition(": ")[2]
        remedy = "check the network (behind a proxy: HTTPS_PROXY) and run this again"
        return f"{host} cannot be reached ({reason}); {remedy}"
    if isinstance(error, HTTPError):
        return f"{host} answers {_status(error)}; {by_hand(url, path)}"
    if isinstance(error, FileURLRetrievalError):
        return f"{host} shows a page instead of the file; {by_hand(url, path)}"
    if isinstance(error, (RequestException, DownloadError)):
        return f"the connection to {host} broke off; run this again to go on from there"
    if isinstance(error, OSError):
        return f"{error.strerror}; check the disk and its permissions"
    return f"{host} gives an unexpected answer ({error!r}); {by_hand(url, path)}"


def by_hand(url: str, path: Path) -> str:
    """The remedy where a server does not give the file, as Google Drive after many downloads."""
    return f"try again tomorrow, or open {url} in a browser and save the file as {path}"
