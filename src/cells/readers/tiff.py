"""TIFF of any kind: plain, ImageJ, OME, tiled, planar; axes as the file names them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tifffile import PHOTOMETRIC, TiffFile, TiffPage, TiffPageSeries

from cells.readers.tiff_metadata import channel_names, own_part_of_set, pixel_size
from cells.readers.tiff_pages import check_page_list
from cells.readers.tiff_segments import segment_reader
from cells.readers.volume import (
    POSITION,
    Reader,
    Volume,
    Window,
    array_reader,
    by_position,
    check_size,
)
from utils.script import InputError

REMEDY = "save it again as TIFF or PNG with the program that made it"
ALPHA = (1, 2)  # values of the tag ExtraSamples: associated and unassociated
COLOUR = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
STACK = "Q"


def open_tiff(path: Path) -> Volume:
    """Read a TIFF's description; of its pixels only what is asked for later.

    Raises:
        InputError: no TIFF, damaged, or without two-dimensional images.
    """
    tif = None
    try:
        check_page_list(path)
        tif = TiffFile(path, _multifile=False)  # of a set of OME files, each is an image
        if own := own_part_of_set(tif):
            tif.close()
            tif = TiffFile(path, omexml=own, _multifile=False)
        return _volume(path, tif)
    except Exception as error:  # tifffile raises many kinds for broken files
        if tif is not None:
            tif.close()
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: unreadable TIFF ({error}); {REMEDY}") from error


def _volume(path: Path, tif: TiffFile) -> Volume:
    positions, left_out = _largest_alike(tif.series)
    series = positions[0]
    axes, page = series.axes, series.keyframe
    if not {"Y", "X"} <= set(axes) or not series.size:
        raise InputError(f"{path}: axes {axes or 'none'} are not those of an image; {REMEDY}")
    if page.photometric == PHOTOMETRIC.SEPARATED:
        raise InputError(f"{path}: colours for print (CMYK); save it as RGB or grey")
    check_size(path, series.shape, series.nbytes)
    check_size(path, page.shape, page.nbytes)
    readers = [_reader(path, tif, one) for one in positions]
    read = _closing(readers[0] if len(readers) == 1 else by_position(readers), tif)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        read = _inverted(read, series.dtype, page.bitspersample)
    lengths = {POSITION: len(readers), **dict(zip(axes, series.shape, strict=True))}
    palette = None if tif.is_imagej else _palette(page)
    colour = lengths.get("S", 1) >= 3 and page.photometric in COLOUR
    stored, count = read, lengths.get("S", 1)
    if palette is not None:
        read = _looked_up(read, palette)
    elif colour:
        read = _samples(read, slice(3))
    elif "S" in axes:
        grey = lengths["S"] - sum(extra in ALPHA for extra in page.extrasamples)
        lengths, read = _samples_as_channels(lengths, read, max(grey, 1))
    sizes = {axis: n for axis, n in lengths.items() if axis not in "YXS" and n > 1}
    volume = Volume(
        path=path,
        shape=(lengths["Y"], lengths["X"]),
        dtype=np.dtype(series.dtype if palette is None else np.uint8).newbyteorder("="),
        sizes=sizes,
        colour=colour or palette is not None,
        read=read,
        channel_names=channel_names(tif, series, sizes.get("C", 1)),
        pixel_size=pixel_size(tif, series),
        left_out=left_out,
    )
    if colour and axes.index("S") < axes.index("Y"):
        sizes = {**sizes, STACK: count}
        stack = replace(volume, sizes=sizes, colour=False, read=_by_sample(stored, STACK))
        return replace(volume, stack=stack)
    return volume


def _largest_alike(series: Sequence[TiffPageSeries]) -> tuple[list[TiffPageSeries], int]:
    """The largest image of the file and all that are like it, positions of the stage; and how many
    others there are that are no reduced copies."""
    largest = max(series, key=lambda one: one.size)
    kind = (largest.axes, largest.shape, largest.dtype)
    alike = [one for one in series if (one.axes, one.shape, one.dtype) == kind]
    others = [one for one in series if one not in alike and not one.keyframe.is_reduced]
    return alike, len(others)


def _reader(path: Path, tif: TiffFile, series: TiffPageSeries) -> Reader:
    """Reads mapped memory, or the strips or tiles of a window, or else the whole at once."""
    if series.dataoffset is not None and series.transform is None:
        dtype = np.dtype(tif.byteorder + np.dtype(series.dtype).char)
        shape = tuple(series.shape)
        mapped = np.memmap(path, dtype, "r", series.dataoffset, shape)
        return array_reader(mapped, series.axes)
    return segment_reader(path, tif, series) or array_reader(series.asarray(), series.axes)


def _closing(read: Reader, tif: TiffFile) -> Reader:
    """The reader; when nobody holds it any more, the file is closed."""

    def read_open(index: Mapping[str, int], window: Window) -> np.ndarray:
        return read(index, window)

    weakref.finalize(read_open, tif.close)
    return read_open


def _inverted(read: Reader, dtype: np.dtype, bits: int) -> Reader:
    """Files in which 0 is white: as the others, brighter is more."""
    highest = 2**bits - 1 if np.dtype(dtype).kind == "u" else 0

    def read_inverted(index: Mapping[str, int], window: Window) -> np.ndarray:
        values = read(index, window)
        return ~values if values.dtype.kind == "b" else values.dtype.type(highest) - values

    return read_inverted


def _palette(page: TiffPage) -> np.ndarray | None:
    """Red, green and blue by value, uint8 [N, 3], for values that are only numbers of colours.

    None also where a larger value is a brighter colour: then the colours are a way to look at
    intensities, which are read themselves. ImageJ stores intensities with any colours.
    """
    if page.photometric != PHOTOMETRIC.PALETTE or page.colormap is None:
        return None
    colours = np.asarray(page.colormap).T
    if not (np.diff(colours.astype(np.int64).sum(axis=1)) < 0).any():
        return None
    # 16 bits each, of which some programs use the lower 8 only
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)


def _looked_up(read: Reader, palette: np.ndarray) -> Reader:
    def read_colours(index: Mapping[str, int], window: Window) -> np.ndarray:
        return palette[read(index, window)]

    return read_colours


def _samples(read: Reader, samples: slice | int) -> Reader:
    def read_samples(index: Mapping[str, int], window: Window) -> np.ndarray:
        return np.ascontiguousarray(read(index, window)[:, :, samples])

    return read_samples


def _samples_as_channels(
    lengths: Mapping[str, int], read: Reader, count: int
) -> tuple[dict[str, int], Reader]:
    """Grey values stored side by side that are not colours: the channels of the image."""

    if "C" in lengths or count == 1:
        return dict(lengths), _samples(read, 0)
    return {**lengths, "C": count}, _by_sample(read, "C")


def _by_sample(read: Reader, axis: str) -> Reader:
    def read_sample(index: Mapping[str, int], window: Window) -> np.ndarray:
        return _samples(read, index.get(axis, 0))(index, window)

    return read_sample
