"""What a run has done: one small JSON file for each image, which outlives a kill at any moment.

`<out_dir>/records/<name>.json` is written before an image's outputs (`finished` false) and after
them (`finished` true). Every image belongs to one process, so that no two write the same file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from runs.names import OF_THE_RUN, RUN
from utils.files import remove_leftovers, sha256, write_json
from utils.script import InputError

if TYPE_CHECKING:
    from runs.plan import PlannedImage

FOLDER = "records"
FIELDS = {"sha256", "settings", "outputs", "finished"}


def settings_key(settings: Mapping[str, object]) -> str:
    """A hash of all that decides the results of an image."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of an image file; read once, however many of its planes are segmented.

    Of a folder (OME-Zarr), of which only some chunks may be looked at: of the names, sizes and
    times of all files.
    """
    status = path.stat()
    return _digest_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _digest_of(path: Path, changed: int, size: int) -> str:
    if not path.is_dir():
        return sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        status = file.stat()
        digest.update(os.fsencode(file.relative_to(path)))
        digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Records:
    """The records in an output folder.

    Args:
        out_dir: the folder.
        key: see `settings_key`; records of other settings do not count as done.
    """

    def __init__(self, out_dir: Path, key: str) -> None:
        self.folder = out_dir / FOLDER
        self.key = key

    def read(self, name: str) -> dict | None:
        """The record of an image, or None where there is none that can be read."""
        return _read(self._path(name))

    def start(self, image: PlannedImage, digest: str) -> set[Path]:
        """Say that the image's outputs are about to be written.

        Args:
            image: the image.
            digest: SHA-256 of its file.

        Returns:
            Outputs that were changed since a run wrote them, which have to stay.

        Raises:
            InputError: there are such outputs, of another image.
        """
        before = self.read(image.name) or {}
        written = dict(before.get("written", {}))
        there = {path for path in image.outputs if path.name in written and path.is_file()}
        changed = {path for path in there if sha256(path) != written[path.name]}
        if changed and before["sha256"] != digest:
            raise InputError(
                f"{image.path}: {min(changed)} was corrected for another image of this name; "
                "choose another --out_dir"
            )
        for path in {*image.outputs} - changed:
            written.pop(path.name, None)
        self._write(image, digest, finished=False, written=written)
        return changed

    def finish(
        self,
        image: PlannedImage,
        digest: str,
        row: Mapping[str, object],
        cells: Mapping[str, object] | None = None,
    ) -> None:
        """Say that all outputs are written, after `start`.

        Args:
            image: the image.
            digest: SHA-256 of its file.
            row: its line of the summary.
            cells: what a report's distributions are made of, see `cell_samples`.
        """
        written = dict((self.read(image.name) or {}).get("written", {}))
        written |= {p.name: sha256(p) for p in image.outputs if p.name not in written}
        more = {"row": dict(row), "cells": dict(cells or {}), "written": written}
        self._write(image, digest, finished=True, **more)

    def fail(self, image: PlannedImage, message: str) -> None:
        """Say that the image could not be segmented."""
        self._write(image, None, finished=False, error=message)

    def is_finished(self, image: PlannedImage) -> bool:
        """Whether the same image was segmented with the same settings and all outputs are there.

        Outputs are not compared: one that was corrected by hand stays.
        """
        record = self.read(image.name)
        return (
            self.counts(record)
            and {path.name for path in image.outputs} <= set(record["outputs"])
            and all(path.is_file() for path in image.outputs)
            and record["sha256"] == digest_of(image.path)
        )

    def counts(self, record: Mapping[str, object] | None) -> bool:
        """Whether it tells of a finished image with these settings."""
        return bool(record and record["settings"] == self.key and record["finished"] is True)

    def tells_failure(self, record: Mapping[str, object] | None) -> bool:
        """Whether it tells of an image that could not be segmented with these settings."""
        return bool(record and record["settings"] == self.key and "error" in record)

    def clean(self, images: Sequence[PlannedImage], alone: bool = False) -> None:
        """Remove temporary files that a killed process has left.

        Args:
            images: those of this process, which no other writes.
            alone: no other process writes the files of the whole run.
        """
        paths = [path for i in images for path in (*i.outputs, self._path(i.name))]
        if alone:
            paths += [self.folder.parent / name for name in OF_THE_RUN]
        remove_leftovers(paths)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _write(
        self, image: PlannedImage, digest: str | None, finished: bool, **more: object
    ) -> None:
        outputs = [path.name for path in image.outputs]
        before = self.read(image.name) or {"outputs": []}
        earlier = {*before["outputs"], *before.get("earlier_outputs", [])} - set(outputs)
        record = {
            "image": str(image.path),
            "sha256": digest or before.get("sha256"),
            "settings": self.key,
            "outputs": outputs,
            "earlier_outputs": sorted(earlier),  # of another --save; they are no images either
            "written": before.get("written", {}),  # SHA-256 of each output, by the file's name
            "finished": finished,
            **more,
        }
        write_json(self._path(image.name), record)


def written_before(out_dir: Path) -> set[str]:
    """Names of all files in a folder that runs have written or begun to write."""
    records = [record for p in (out_dir / FOLDER).glob("*.json") if (record := _read(p))]
    names = {name for r in records for name in (*r["outputs"], *r.get("earlier_outputs", []))}
    # a run that was killed before its first image has left nothing but run.json
    of_runs = files_of_runs(out_dir)
    if records and not of_runs:
        of_runs = {*OF_THE_RUN}
    return names | of_runs


def files_of_runs(out_dir: Path) -> set[str]:
    """Names of the files about whole runs, as `run.json` of a folder tells them."""
    run = _read_json(out_dir / RUN)
    return {*run.get("files", OF_THE_RUN)} & {*OF_THE_RUN} if _is_run(run) else set()


def _read(path: Path) -> dict | None:
    record = _read_json(path)
    return record if _is_record(record) else None


def _read_json(path: Path) -> object:
    """What a file holds; None where it is not there or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_run(value: object) -> bool:
    known = isinstance(value, dict) and {"command", "models", "settings"} <= value.keys()
    return known and isinstance(value.get("files", []), list)


def _is_record(value: object) -> bool:
    if not isinstance(value, dict) or not FIELDS <= value.keys():
        return False
    lists = value["outputs"], value.get("earlier_outputs", [])
    written = value.get("written", {})
    return (
        isinstance(written, dict)
        and all(isinstance(names, list) for names in lists)
        and all(isinstance(name, str) for names in lists for name in names)
        and (value["finished"] is not True or isinstance(value.get("row"), dict))
    )
