"""A function for each format of `ENDINGS` whose files hold one image."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from cells.imports.contents import Contents
from cells.imports.geojson import read_geojson
from cells.imports.labels import read_label_image
from cells.imports.rois import read_rois

READERS: dict[str, Callable[[Path, tuple[int, int], Collection[str]], Contents]] = {
    "labels": read_label_image,
    "masks": read_label_image,
    "rois": read_rois,
    "geojson": read_geojson,
}
