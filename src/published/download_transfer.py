"""One file over the network: taken up where it broke off, with errors in plain words."""

from __future__ import annotations

import glob
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import gdown
import requests
from gdown.exceptions import DownloadError, FileURLRetrievalError
from tqdm import tqdm
from urllib3.exceptions import MaxRetryError

from utils.files import atomic_path
from utils.script import InputError

ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt, twice as many before the third
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of a file

# What gdown says where the server cannot continue a part, or two runs at a time each left one.
UNUSABLE_PARTS = ("byte range", "multiple temporary files")


@contextmanager
def downloaded(urls: Sequence[str], path: Path) -> Iterator[tuple[Path, str]]:
    """Download, and yield the file under a temporary name; rename it to `path` on success only.

    What came before a connection broke stays beside `path` as a `.part` file, and the next attempt
    or run goes on from there. Any other failure leaves nothing behind.

    Args:
        urls: Google Drive and other addresses; the next one is tried where one answers 404.
        path: where the file is to be; its folder is created.

    Yields:
        The temporary path, for checking the file, and the address that it came from.

    Raises:
        InputError: the reason and the remedy.
    """
    incoming = path.with_name(f"incomplete_{path.name}")
    with _folder_of(path):
        try:
            yield incoming, _fetch(urls, incoming, path)
            with atomic_path(path) as temporary:  # for its permissions: gdown's files are private
                incoming.replace(temporary)
        finally:
            incoming.unlink(missing_ok=True)
            _remove_parts(incoming, only_empty=True)


@contextmanager
def _folder_of(path: Path) -> Iterator[None]:
    """Make the folders above `path`; new ones that are still empty at the end go again."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in missing:  # the deepest first
            if not any(folder.iterdir()):
                folder.rmdir()


def _remove_parts(incoming: Path, only_empty: bool = False) -> None:
    for part in incoming.parent.glob(f"{glob.escape(incoming.name)}*.part"):
        if not (only_empty and part.stat().st_size):
            part.unlink()


def _fetch(urls: Sequence[str], incoming: Path, path: Path) -> str:
    """Download from the first address that exists, and return it."""
    url, *others = urls
    try:
        _fetch_patiently(url, incoming, path)
        return url
    except InputError:
        raise
    except Exception as error:  # requests, gdown and what reads its pages raise many kinds
        if others and _status(error) == 404:
            return _fetch(others, incoming, path)
        raise InputError(f"{path}: {_explain(error, url, path)}") from error


def _fetch_patiently(url: str, incoming: Path, path: Path) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _fetch_once(url, incoming, path)
        except (requests.RequestException, DownloadError) as error:
            if any(words in str(error) for words in UNUSABLE_PARTS):
                _remove_parts(incoming)
            if attempt == ATTEMPTS or not _may_pass(error):
                raise
        time.sleep(PAUSE * attempt)


def _fetch_once(url: str, incoming: Path, path: Path) -> None:
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
            str(incoming),
            quiet=True,
            use_cookies=False,
            resume=True,
            timeout=TIMEOUT,
            progress=progress,
        )


def check_space(path: Path, needed: int) -> None:
    """Raise an `InputError` unless `needed` more bytes fit beside `path`."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"{path}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room "
            "and run this again"
        )


def _status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, requests.HTTPError) else None


def _unreachable(error: Exception) -> bool:
    """No connection at all: no network, unknown name, refused, certificate, proxy."""
    return isinstance(error, requests.ConnectionError) and isinstance(error.args[0], MaxRetryError)


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may help."""
    if _unreachable(error) or isinstance(error, FileURLRetrievalError):
        return False
    status = _status(error)
    return status is None or status >= 500


def _explain(error: Exception, url: str, path: Path) -> str:
    """Reason and remedy."""
    host = urlsplit(url).netloc
    if _unreachable(error):
        cause = str(error.args[0].reason).rpartition(": ")[2]
        remedy = "check the network (behind a proxy: HTTPS_PROXY) and run this again"
        return f"{host} cannot be reached ({cause}); {remedy}"
    if isinstance(error, requests.HTTPError):
        return f"{host} answers {_status(error)}; {by_hand(url, path)}"
    if isinstance(error, FileURLRetrievalError):
        return f"{host} shows a page instead of the file; {by_hand(url, path)}"
    if isinstance(error, (requests.RequestException, DownloadError)):
        return f"the connection to {host} broke off; run this again to go on from there"
    if isinstance(error, OSError):
        return f"{error.strerror}; check the disk and its permissions"
    return f"{host} gives an unexpected answer ({error!r}); {by_hand(url, path)}"


def by_hand(url: str, path: Path) -> str:
    """The remedy where a server does not give the file, as Google Drive after many downloads."""
    return f"try again tomorrow, or open {url} in a browser and save the file as {path}"
