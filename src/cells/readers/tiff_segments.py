"""Windows of compressed or tiled TIFFs: only the strips or tiles that they touch are read."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

import numpy as np
from tifffile import TiffFile, TiffPageSeries

from cells.readers.volume import Reader, Window, check_size
from utils.script import InputError

CACHE_BYTES = 2**26  # decoded segments that are kept: neighbouring windows share some


def segment_reader(path: Path, tif: TiffFile, series: TiffPageSeries) -> Reader | None:
    """A reader of strips and tiles.

    Args:
        path: for messages.
        tif: the open file; it stays open as long as the reader lives.
        series: of it.

    Returns:
        None where the pages do not follow each other as the axes say, or hold volumes.

    Raises:
        InputError: a tile would be far larger than the file.
    """
    page = series.keyframe
    colour_last = series.axes[-1] == "S"
    outer = series.axes[: -3 if colour_last else -2]
    planes = math.prod(series.shape[: len(outer)])
    apart = page.samplesperpixel if page.planarconfig == 2 else 1
    plain = series.axes.endswith(("YX", "YXS")) and series.transform is None
    if page.is_tiled:
        tile = page.tilelength, page.tilewidth, page.samplesperpixel
        check_size(path, tile, math.prod(tile) * np.dtype(series.dtype).itemsize)
    if not plain or page.imagedepth != 1 or planes != len(series.pages) * apart:
        return None
    return _Segments(path, tif, series, outer, apart).read


class _Segments:
    """Decoded strips or tiles of a series, the latest of them kept."""

    def __init__(
        self, path: Path, tif: TiffFile, series: TiffPageSeries, outer: str, apart: int
    ) -> None:
        page = series.keyframe
        height, width = page.imagelength, page.imagewidth
        self._path = path
        self._tif = tif
        self._series = series
        self._outer = outer
        self._apart = apart
        self._shape = (height, width, 1 if apart > 1 else page.samplesperpixel)
        self._size = (
            (page.tilelength, page.tilewidth)
            if page.is_tiled
            else (min(page.rowsperstrip, height), width)
        )
        self._grid = -(-height // self._size[0]), -(-width // self._size[1])
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def read(self, index: Mapping[str, int], window: Window) -> np.ndarray:
        """Raw values of a window, see `Reader`."""
        count = self._apart if "S" in self._outer else 1  # colours in planes of their own
        with self._lock:
            planes = [self._read(self._plane({**index, "S": s}), window) for s in range(count)]
        values = planes[0] if count == 1 else np.concatenate(planes, axis=2)
        return values if "S" in self._series.axes else values[:, :, 0]

    def _plane(self, index: Mapping[str, int]) -> int:
        """Number of a plane in the order of the file."""
        number = 0
        for axis, size in zip(self._outer, self._series.shape, strict=False):
            number = number * size + index.get(axis, 0)
        return number

    def _read(self, plane: int, window: Window) -> np.ndarray:
        """[height, width, samples] of a window of one plane."""
        y0, y1, x0, x1 = window
        dtype = np.dtype(self._series.dtype).newbyteorder("=")
        values = np.zeros((y1 - y0, x1 - x0, self._shape[2]), dtype)
        height, width = self._size
        for row in range(y0 // height, -(-y1 // height)):
            for column in range(x0 // width, -(-x1 // width)):
                top, left = row * height, column * width
                segment = self._segment(plane, row, column)
                bottom = min(top + segment.shape[0], y1)
                right = min(left + segment.shape[1], x1)
                rows, columns = slice(max(top, y0), bottom), slice(max(left, x0), right)
                values[rows.start - y0 : bottom - y0, columns.start - x0 : right - x0] = segment[
                    rows.start - top : bottom - top, columns.start - left : right - left
                ]
        return values

    def _segment(self, plane: int, row: int, column: int) -> np.ndarray:
        """One decoded strip or tile, [height, width, samples]."""
        number, sample = divmod(plane, self._apart)
        linear = (sample * self._grid[0] + row) * self._grid[1] + column
        key = (number, linear)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        segment = self._decode(number, linear, row, column)
        self._kept[key] = segment
        self._bytes += segment.nbytes
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return segment

    def _decode(self, number: int, linear: int, row: int, column: int) -> np.ndarray:
        page, keyframe = self._series.pages[number], self._series.keyframe
        empty = np.zeros((*self._size, self._shape[2]), self._series.dtype)
        if page is None:
            return empty  # a plane that was not taken
        try:
            offset, count = page.dataoffsets[linear], page.databytecounts[linear]
            if not count:
                return empty  # a sparse file
            file = page.parent.filehandle
            file.seek(offset)
            data = file.read(count)
            options = {}
            if keyframe.jpegtables is not None or keyframe.jpegheader is not None:
                options = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
            segment, _, shape = keyframe.decode(data, linear, **options)
        except Exception as error:  # decoders raise many kinds for damaged data
            reason = str(error) or type(error).__name__
            raise InputError(
                f"{self._path}: damaged at row {row * self._size[0]} and column "
                f"{column * self._size[1]} ({reason}); copy or save the file again"
            ) from error
        return empty if segment is None else segment[0, : shape[1], : shape[2]]
