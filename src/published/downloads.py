"""Files from the web: fetched once, checked, and recorded with their SHA-256."""

from __future__ import annotations

import argparse
import glob
import hashlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from published.contents import find_damage
from utils.files import atomic_path, check_space, sha256, write_json
from utils.script import InputError, print_error

RETRIES = 2  # of a connection that breaks off
TIMEOUT = (5, 60)  # seconds to connect, and between two pieces of a file
# what gdown says where the server cannot continue a part, or two runs at a time each left one
UNUSABLE_PARTS = ("byte range", "multiple temporary files")


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Attributes:
        path: where it is kept, relative to --root; a mirror has it under this file name.
        urls: where it comes from; the next one is tried where one answers 404.
        product: what is made of it, relative to --root; None for a file that is used as it is.
    """

    path: str
    urls: tuple[str, ...]
    product: str | None = None


class Incoming(NamedTuple):
    """A file that has come and has yet to be checked: where it is, its address and SHA-256."""

    path: Path
    url: str
    digest: str


def google_drive(file_id: str) -> tuple[str, ...]:
    """Address of a shared file, for `Download.urls`; it opens in a browser, too."""
    return (f"https://drive.google.com/file/d/{file_id}/view",)


def add_download_options(parser: argparse.ArgumentParser) -> None:
    """Where from and where to."""
    add = parser.add_argument
    add(
        "--mirror",
        metavar="URL",
        help="folder on a web server that holds the files under the names that they get here; "
        "used instead of the original addresses",
    )
    add("--root", default=".", help="folder to put everything into (default: %(default)s)")


def obtain_all(
    downloads: Sequence[Download],
    manifest_path: str,
    make: Callable[[Path, Path], None],
    args: argparse.Namespace,
) -> int:
    """Fetch and process files; one that fails is reported and does not stop the others.

    Args:
        downloads: what to fetch.
        manifest_path: where the hashes are kept, relative to --root.
        make: makes the product (second argument) of a file.
        args: options of `add_download_options`.

    Returns:
        Number of failures.

    Raises:
        InputError: an impossible option, a broken manifest, a library that is not installed.
    """
    if args.mirror and not args.mirror.startswith(("http://", "https://")):
        raise InputError(f"--mirror {args.mirror}: give an address that starts with https://")
    if importlib.util.find_spec("gdown") is None:
        raise InputError("gdown is not installed; run bash install_libs.sh")
    root = Path(args.root)
    manifest = Manifest(root / manifest_path)
    failures = 0
    for download in downloads:
        path = root / download.path
        product = root / download.product if download.product else None
        try:
            if product and product.exists():
                print(f"{product}: is there already and stays as it is")
                if not path.exists():
                    continue
            _obtain(download, path, args.mirror, manifest)
            if product and not product.exists():
                make(path, product)
        except InputError as error:
            print_error(error)
            failures += 1
        except OSError as error:
            print_error(InputError(f"{path}: {error}; check the disk and its permissions"))
            failures += 1
    return failures


class Manifest:
    """SHA-256 of the files that were downloaded, or found in place, and checked.

    Args:
        path: JSON file, {"path of a file": "hexadecimal digits", ...}.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else "{}"
            self.hashes = dict(json.loads(text))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: not readable; delete it to record the files again"
            ) from error

    def record(self, name: str, digest: str) -> None:
        """Add a file and write the manifest."""
        self.hashes[name] = digest
        write_json(self.path, self.hashes)


def _obtain(download: Download, path: Path, mirror: str | None, manifest: Manifest) -> None:
    """Make sure that a file is at `path` and is what it should be.

    Raises:
        InputError: it cannot be had, is damaged, or is another than the one recorded.
    """
    if path.exists():
        _check_existing(download.path, path, manifest)
        return
    urls = (f"{mirror.rstrip('/')}/{path.name}",) if mirror else download.urls
    with downloaded(urls, path) as incoming:
        damage = find_damage(incoming.path)
        if damage:
            raise InputError(f"{path}: what came is {damage}; {by_hand(incoming.url, path)}")
        if manifest.hashes.get(download.path, incoming.digest) != incoming.digest:
            raise InputError(
                f"{path}: {incoming.url} now gives another file than at first; delete the entry "
                f"in {manifest.path} to accept it"
            )
    manifest.record(download.path, incoming.digest)
    print(f"{path}: downloaded, {path.stat().st_size / 1e6:.1f} MB")


def _check_existing(name: str, path: Path, manifest: Manifest) -> None:
    """Compare a file with its record; one without a record, put there by hand, gets one."""
    if name in manifest.hashes:
        if sha256(path) != manifest.hashes[name]:
            raise InputError(
                f"{path}: is not the file that was recorded (its SHA-256 differs); delete it to "
                f"download it again, or its entry in {manifest.path} to keep it"
            )
    else:
        damage = find_damage(path)
        if damage:
            raise InputError(f"{path}: {damage}; delete it to download it")
        manifest.record(name, sha256(path))
    print(f"{path}: is there already, checked")


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
