"""The published files: fetched once, checked, and recorded with their SHA-256."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from published.contents import find_damage
from published.transfer import by_hand, downloaded
from utils.files import sha256, write_json
from utils.paths import in_repository
from utils.script import InputError, print_error


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


def add_download_options(parser: argparse.ArgumentParser) -> None:
    """Where from and where to."""
    add = parser.add_argument
    add(
        "--mirror",
        metavar="URL",
        help="folder on a web server that holds the files under the names that they get here; "
        "used instead of the original addresses",
    )
    add(
        "--root",
        default=in_repository("."),
        help="folder to put everything into (default: the repository)",
    )


def obtain_all(
    downloads: Sequence[Download],
    manifest_path: str,
    make: Callable[[Path, Path], None],
    args: argparse.Namespace,
) -> list[Download]:
    """Fetch and process files; one that fails is reported and does not stop the others.

    Args:
        downloads: what to fetch.
        manifest_path: where the hashes are kept, relative to --root.
        make: makes the product (second argument) of a file.
        args: options of `add_download_options`.

    Returns:
        Those that failed.

    Raises:
        InputError: an impossible option, a broken manifest, a library that is not installed.
    """
    if args.mirror and not args.mirror.startswith(("http://", "https://")):
        raise InputError(f"--mirror {args.mirror}: give an address that starts with https://")
    if importlib.util.find_spec("gdown") is None:
        raise InputError("gdown is not installed; run bash install_libs.sh")
    root = Path(args.root)
    manifest = Manifest(root / manifest_path)
    failed = []
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
            failed.append(download)
        except OSError as error:
            print_error(InputError(f"{path}: {error}; check the disk and its permissions"))
            failed.append(download)
    return failed


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
