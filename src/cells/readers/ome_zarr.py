"""OME-Zarr: a folder with an image in chunks, or with the fields of a plate.

Versions 0.1 to 0.5 of https://ngff.openmicroscopy.org, which differ in where the metadata are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cells.readers.tiff_metadata import micrometres, square
from cells.readers.volume import (
    POSITION,
    Reader,
    Volume,
    Window,
    array_reader,
    by_position,
    named_volume,
)
from utils.script import InputError

EARLY_AXES = "TCZYX"  # of versions that do not name them


@dataclass(frozen=True, eq=False)
class _Level:
    """Axes as letters, zarr's array, and micrometres per pixel where they are known."""

    axes: str
    array: Any
    pixel_size: float | None


def open_ome_zarr(path: Path, zarr: ModuleType) -> Volume:
    """Open the finest level of an image, or of all fields of a plate as positions.

    Raises:
        InputError: the folder holds no OME-Zarr image.
    """
    groups = list(_images(zarr.open_group(str(path), mode="r")))
    if not groups:
        raise InputError(f"{path}: no OME-Zarr image in this folder; check the path")
    levels = [_finest_level(group) for group in groups]
    kinds = [(level.axes, level.array.shape, level.array.dtype) for level in levels]
    largest = max(kinds, key=lambda kind: math.prod(kind[1]))
    alike = [level for level, kind in zip(levels, kinds, strict=True) if kind == largest]
    read = by_position([_reader(path, level) for level in alike])
    first = alike[0]
    sizes = {POSITION: len(alike), **dict(zip(first.axes, first.array.shape, strict=True))}
    names = _channel_names(groups[levels.index(first)])
    volume = named_volume(path, sizes, first.array.dtype, read, names, first.pixel_size)
    return replace(volume, left_out=len(levels) - len(alike))


def _metadata(group: Any) -> Mapping[str, Any]:
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)  # from version 0.5 on


def _images(group: Any) -> Iterator[Any]:
    """The image itself, the fields of a plate or of a well, or what a converter numbered."""
    metadata = _metadata(group)
    if "multiscales" in metadata:
        yield group
    elif "plate" in metadata:
        for well in metadata["plate"]["wells"]:
            yield from _images(group[well["path"]])
    elif "well" in metadata:
        for field in metadata["well"]["images"]:
            yield group[field["path"]]
    else:
        for name in sorted((name for name in group if name.isdecimal()), key=int):
            yield from _images(group[name])


def _finest_level(image: Any) -> _Level:
    multiscale = _metadata(image)["multiscales"][0]
    finest = multiscale["datasets"][0]
    array = image[finest["path"]]
    described = multiscale.get("axes", EARLY_AXES[-array.ndim :])
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in described]
    lengths = np.ones(array.ndim)
    for place in (finest, multiscale):
        for transform in place.get("coordinateTransformations", ()):
            if transform.get("type") == "scale":
                lengths = lengths * transform["scale"]
    letters = "".join(axis["name"].upper() for axis in axes)
    steps = {
        letter: micrometres(length, axis.get("unit", ""))
        for letter, length, axis in zip(letters, lengths.tolist(), axes, strict=True)
    }
    return _Level(letters, array, square(steps.get("X", 0.0), steps.get("Y", 0.0)))


def _reader(path: Path, level: _Level) -> Reader:
    """Reads the chunks that a window touches."""
    read_array = array_reader(level.array, level.axes)

    def read(index: Mapping[str, int], window: Window) -> np.ndarray:
        try:
            return read_array(index, window)
        except Exception as error:  # decoders raise many kinds for damaged chunks
            reason = str(error) or type(error).__name__
            raise InputError(f"{path}: damaged chunk ({reason}); copy the folder again") from error

    return read


def _channel_names(image: Any) -> list[str]:
    channels = _metadata(image).get("omero", {}).get("channels", [])
    return [channel.get("label", "") for channel in channels]
