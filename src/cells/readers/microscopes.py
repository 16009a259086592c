"""Files of microscopes, read by packages that are installed on demand: ND2, CZI, LIF, OME-Zarr.

pip install -r requirements-microscopes.txt
"""

from __future__ import annotations

import importlib
import math
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np

from cells.readers.ome_zarr import open_ome_zarr
from cells.readers.tiff_metadata import square
from cells.readers.volume import (
    POSITION,
    Volume,
    Window,
    array_reader,
    by_position,
    check_size,
    named_volume,
)
from utils.paths import ZARR
from utils.script import InputError

REMEDY = "export it as TIFF with the microscope's program"


def open_microscope_file(path: Path, suffix: str) -> Volume:
    """Open a file as one of the suffix, which is one of `OPENERS`.

    The latest one stays open: planes come one after the other, and opening may take as long as
    reading them all. Threads may read from it together.

    Raises:
        InputError: the package for it is not installed, or cannot read the file.
    """
    status = path.stat()
    # a forked process shares no open file, whose position reading moves
    return _open(path, suffix, os.getpid(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _open(path: Path, suffix: str, process: int, changed: int, size: int) -> Volume:
    name, opener = OPENERS[suffix]
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{path}: {suffix} files need a package that is not installed: pip install {name}"
        ) from error
    try:
        return opener(path, package)
    except InputError:
        raise
    except Exception as error:  # the packages raise many kinds for broken files
        raise InputError(f"{path}: {name} cannot read it ({error}); {REMEDY}") from error


def _nd2(path: Path, nd2: ModuleType) -> Volume:
    """Nikon: frames of all channels, read one at a time."""
    file = nd2.ND2File(path)
    sizes = dict(file.sizes)
    frame_axes = "".join(axis for axis in ("C", "Y", "X", "S") if axis in sizes)
    outer = [axis for axis in sizes if axis not in frame_axes]
    lock = Lock()

    def read(index: Mapping[str, int], window: Window) -> np.ndarray:
        number = 0
        for axis in outer:
            number = number * sizes[axis] + index.get(axis, 0)
        with lock:
            frame = file.read_frame(number).reshape([sizes[axis] for axis in frame_axes])
        return array_reader(frame, frame_axes)(index, window)

    voxel = file.voxel_size()
    channels = getattr(file.metadata, "channels", None) or []
    names = [channel.channel.name for channel in channels]
    volume = named_volume(path, sizes, file.dtype, read, names, square(voxel.x, voxel.y))
    weakref.finalize(volume, file.close)
    return volume


def _lif(path: Path, liffile: ModuleType) -> Volume:
    """Leica: the largest image of the file, and all that are like it as positions."""
    file = liffile.LifFile(path)
    try:
        kinds = [(tuple(image.sizes.items()), image.dtype) for image in file.images]
        largest = max(kinds, key=lambda kind: math.prod(size for _, size in kind[0]))
        images = [i for i, kind in zip(file.images, kinds, strict=True) if kind == largest]
        axes = "".join(images[0].dims)
        readers = [array_reader(image.asarray(out="memmap"), axes) for image in images]
        steps = [_step(images[0].coords.get(axis, ())) for axis in "XY"]
    finally:
        file.close()

    sizes = {POSITION: len(readers), **images[0].sizes}
    volume = named_volume(path, sizes, images[0].dtype, by_position(readers), (), square(*steps))
    return replace(volume, left_out=len(kinds) - len(images))


def _czi(path: Path, czifile: ModuleType) -> Volume:
    """Zeiss: the whole image, put together from its tiles."""
    with czifile.CziFile(path) as file:
        axes = file.axes.replace("S", "P").replace("0", "S")  # scenes, and samples of a pixel
        check_size(path, file.shape, math.prod(file.shape) * file.dtype.itemsize)
        array = file.asarray(max_workers=1)  # with more it loses errors
        metadata = ElementTree.fromstring(file.metadata() or "<none/>")
    metres = {
        distance.get("Id"): float(distance.findtext("Value") or 0)
        for distance in metadata.iterfind(".//Scaling/Items/Distance")
    }
    channels = metadata.iterfind(".//Information/Image/Dimensions/Channels/Channel")
    names = [channel.get("Name", "") for channel in channels]
    sizes = dict(zip(axes, array.shape, strict=True))
    pixel_size = square(*(1e6 * metres.get(axis, 0) for axis in "XY"))
    return named_volume(path, sizes, array.dtype, array_reader(array, axes), names, pixel_size)


OPENERS: dict[str, tuple[str, Callable[[Path, Any], Volume]]] = {
    ".nd2": ("nd2", _nd2),
    ".lif": ("liffile", _lif),
    ".czi": ("czifile", _czi),
    ZARR: ("zarr", open_ome_zarr),
}


def _step(coordinates: Sequence[float]) -> float:
    """Micrometres between coordinates in metres; 0 where there are none."""
    if len(coordinates) < 2:
        return 0.0
    return 1e6 * float(coordinates[-1] - coordinates[0]) / (len(coordinates) - 1)
