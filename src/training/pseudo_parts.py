"""Labels of single images on disk, from which a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from utils.files import sha256, write_json

FORMAT = 1  # a higher number makes earlier files void


class Parts:
    """A folder with one JSON file for each labelled image.

    A file is named by all that the labels depend on, the image's content among it: what was made
    with other weights, options or pixels is not found.

    Args:
        folder: is created with the first file. Temporary files of killed runs in it are removed.
        made_with: what the labels depend on besides the image; JSON.
    """

    def __init__(self, folder: Path, made_with: Mapping) -> None:
        self.folder = folder
        self._made_with = json.dumps([FORMAT, dict(made_with)], sort_keys=True)
        self._used: set[Path] = set()
        for path in folder.glob(".*.json"):
            path.unlink(missing_ok=True)

    def load(self, image: Path) -> dict | None:
        """What `save` wrote for an image of this content, or None."""
        path = self._path(image)
        try:
            part = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        self._used.add(path)
        return part

    def save(self, image: Path, part: dict) -> None:
        """Keep what was found in an image; the file is there completely or not at all."""
        path = self._path(image)
        write_json(path, part, indent=None)
        self._used.add(path)

    def forget_others(self) -> None:
        """Delete the files that were neither read nor written."""
        for path in set(self.folder.glob("*.json")) - self._used:
            path.unlink()

    def _path(self, image: Path) -> Path:
        content = f"{self._made_with} {sha256(image)}".encode()
        return self.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
