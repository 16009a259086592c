"""Files written completely or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.script import InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, and limits of a user


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); rename it to `path` on success only.

    The folder is created. On an exception the temporary file is removed and `path` stays as it was.

    Raises:
        InputError: the folder cannot be written to, the disk is full, or `path` is a folder.
    """
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir raises for names that are too long
        raise InputError(f"{path}: is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; an output gets the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except Exception as error:
        reason = _no_room(error)
        if reason is None:
            raise
        raise InputError(
            f"{path}: cannot be written ({reason}); make room, or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(flag: str, folder: str | Path | None) -> None:
    """Refuse a folder that cannot be made or written to, before the work starts; makes nothing.

    Args:
        flag: the option that names it.
        folder: of outputs; nothing is checked for None.

    Raises:
        InputError: names the option.
    """
    if folder is None:
        return
    try:
        place = Path(folder).absolute()
        while not _is_there(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {folder}: cannot be written to ({error.strerror}); choose another folder"
        ) from error


def check_output(output: str | Path, source: str | Path) -> None:
    """Refuse an `--output` that is the `--input`, or whose folder cannot be written to.

    Raises:
        InputError: names the option.
    """
    if Path(output).resolve() == Path(source).resolve():
        raise InputError(f"--output {output}: is the input; give another file")
    check_folder("--output", Path(output).parent)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove_leftovers(paths: Iterable[str | Path]) -> None:
    """Remove what a process that was killed within `atomic_path` has left beside these files.

    Only where no other process is writing them.
    """
    names: dict[Path, set[tuple[str, str]]] = {}
    for path in map(Path, paths):
        names.setdefault(path.parent, set()).add((path.stem, path.suffix))
    for folder, wanted in names.items():
        for file in folder.glob(".*") if folder.is_dir() else ():
            match = re.fullmatch(r"\.(.+)-[a-z0-9_]{8}", file.stem)  # as mkstemp names them
            if match and (match[1], file.suffix) in wanted:
                file.unlink(missing_ok=True)


def _no_room(error: BaseException | None) -> str | None:
    """What the system says where it had no room, also behind what torch makes of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error.strerror
        error = error.__cause__ or error.__context__
    return None


def write_json(path: str | Path, value: object, indent: int | None = 2) -> None:
    """Write a value as JSON (UTF-8), through `atomic_path`.

    Args:
        path: the file.
        value: plain data without NaN or infinity, which JSON does not have.
        indent: spaces of each level; None writes one line, for large files.

    Raises:
        InputError: the folder cannot be written to.
        ValueError: the value holds NaN or infinity.
    """
    text = json.dumps(value, indent=indent, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path, source: str, remedy: str, noun: str = "file") -> object:
    """The content of a JSON file.

    Args:
        path: the file.
        source: what it is called in messages: the path, or the flag and the path.
        remedy: ends the message of an error.
        noun: what kind of file it is, for the message that it is missing.

    Raises:
        InputError: the file is missing or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))  # a mark may stand in front
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such {noun}; {remedy}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: not readable as JSON ({error}); {remedy}") from error


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, or of all files in a folder in the order of their names."""
    path = Path(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with open(file, "rb") as stream:
                hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def check_space(path: Path, needed: int) -> None:
    """Raise an `InputError` unless `needed` more bytes fit beside `path`."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"{path}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room "
            "and run this again"
        )
