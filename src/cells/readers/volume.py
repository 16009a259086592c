"""`Volume`: the pixels of one image file with named axes, none of them read yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.script import InputError

# A file cannot hold more than this many times its size: the best compression of an even image is
# about 1 to 1000. Small sizes are never refused.
LEAST_BYTES, LARGEST_RATIO = 2**28, 2000


class Window(NamedTuple):
    """Rows y0 to y1 and columns x0 to x1 of a plane, the ends excluded."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


POSITION = "P"  # axis of images that are alike: of places of the stage, fields of a plate

# From the position on each axis of `Volume.sizes` and a window to raw values: [height, width], or
# [height, width, 3] in the order red, green, blue.
Reader = Callable[[Mapping[str, int], Window], np.ndarray]


@dataclass(frozen=True)
class Volume:
    """One image file.

    Attributes:
        path: the file.
        shape: (height, width) of a plane in pixels.
        dtype: of the raw values.
        sizes: length of every further axis by its letter, in the order of the file: T time, Z
            depth, C channel, and the file format's letters for others (P position, I or Q where
            the file does not say); those of length 1 are left out.
        colour: a plane has red, green and blue.
        read: raw values of a window of one plane.
        channel_names: of C, where the file has them; empty otherwise.
        pixel_size: micrometres per pixel, where the file says it.
        left_out: images of other sizes or kinds in the file, which are not read.
        stack: the same with the colours as planes of an axis Q, where the file holds each in a
            plane of its own: programs store stacks of three or four planes so, too.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype
    sizes: Mapping[str, int]
    colour: bool
    read: Reader
    channel_names: tuple[str, ...] = ()
    pixel_size: float | None = None
    left_out: int = 0
    stack: Volume | None = None

    def describe_axes(self) -> str:
        """For example `T=4 C=2 Y=520 X=704`."""
        sizes = {**self.sizes, "Y": self.shape[0], "X": self.shape[1]}
        return " ".join(f"{axis}={size}" for axis, size in sizes.items())


def array_reader(array: np.ndarray, axes: str) -> Reader:
    """A reader of an array in memory or mapped from a file.

    Args:
        array: with one axis for each letter of `axes`.
        axes: letters, with Y and X; S is colours.
    """

    def read(index: Mapping[str, int], window: Window) -> np.ndarray:
        rows, columns = window.slices
        where = {"Y": rows, "X": columns, "S": slice(None)}
        part = array[tuple(where.get(axis, index.get(axis, 0)) for axis in axes)]
        order = [axis for axis in axes if axis in "YXS"]
        part = part.transpose([order.index(axis) for axis in "YXS" if axis in order])
        return np.array(part, part.dtype.newbyteorder("="), order="C")

    return read


def by_position(readers: Sequence[Reader]) -> Reader:
    """A reader of images that are alike, one for each number on the axis of positions."""

    def read(index: Mapping[str, int], window: Window) -> np.ndarray:
        return readers[index.get(POSITION, 0)](index, window)

    return read


def check_size(path: Path, shape: Sequence[int], count: int) -> None:
    """Raise an `InputError` for a header that promises far more than the file can hold.

    Args:
        path: the file.
        shape: what its header says.
        count: bytes of all pixels of that shape.
    """
    held = path.stat().st_size
    if count > max(LEAST_BYTES, LARGEST_RATIO * held):
        sides = " x ".join(map(str, shape))
        raise InputError(
            f"{path}: its header promises {sides} values, but the file has {held} bytes; "
            "copy or save it again"
        )


def named_volume(
    path: Path,
    sizes: Mapping[str, int],
    dtype: np.dtype,
    read: Reader,
    channel_names: Sequence[str],
    pixel_size: float | None,
) -> Volume:
    """A volume of axes with S for the samples of a pixel, which are red, green and blue.

    Args:
        path: of the file.
        sizes: length of every axis, with Y, X and S.
        dtype: of the values.
        read: values of a window with all samples.
        channel_names: of C; they count where there is one for each.
        pixel_size: in micrometres.

    Raises:
        InputError: there is no Y or no X.
    """
    if not {"Y", "X"} <= sizes.keys():
        axes = " ".join(sizes)
        raise InputError(f"{path}: axes {axes} are not those of an image; export it as TIFF")
    samples = sizes.get("S", 1)

    def read_plane(index: Mapping[str, int], window: Window) -> np.ndarray:
        values = read(index, window)
        return values if values.ndim == 2 else values[:, :, : 3 if samples >= 3 else 1]

    def read_grey(index: Mapping[str, int], window: Window) -> np.ndarray:
        values = read_plane(index, window)
        return values if values.ndim == 2 else values[:, :, 0]

    channels = sizes.get("C", 1)
    known = len(channel_names) == channels > 1 and all(channel_names)
    return Volume(
        path=path,
        shape=(sizes["Y"], sizes["X"]),
        dtype=np.dtype(dtype).newbyteorder("="),
        sizes={axis: n for axis, n in sizes.items() if axis not in "YXS" and n > 1},
        colour=samples >= 3,
        read=read_plane if samples >= 3 else read_grey,
        channel_names=tuple(channel_names) if known else (),
        pixel_size=pixel_size,
    )
