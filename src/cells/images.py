"""`CellImage`: one image as it is in the file and as the models know it (uint8 BGR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cells.grey import AS_STORED, GreyRule, estimate_rule, grey_map, looks_inverted
from cells.histogram import Histogram
from cells.planes import NO_CHOICE, Plane, PlaneChoice, as_chosen, choose_planes
from cells.projections import plane_reader
from cells.readers.open_file import open_volume
from cells.readers.volume import Volume, Window
from utils.script import InputError

# Grey values are judged by this many windows of this many pixels a side, evenly spread.
SAMPLE_GRID, SAMPLE_SIDE = 6, 160


@dataclass(frozen=True)
class ImageOptions:
    """How a user wants images to be read.

    Attributes:
        choice: planes of files with several.
        invert: the contrast is the other way round than in the training images.
        pixel_size: micrometres per pixel instead of what the files say.
    """

    choice: PlaneChoice = NO_CHOICE
    invert: bool = False
    pixel_size: float | None = None


@dataclass(frozen=True)
class ImageSource:
    """An image to be read: a file, and which of its planes.

    Attributes:
        path: the file.
        plane: of it; None: the only one that the user's choice leaves.
    """

    path: Path
    plane: Plane | None = None


class CellImage:
    """One image of one file: raw values of every channel, and what the models are shown.

    Only what `pixels` returns is kept in memory; windows are read from the file, as far as
    its kind allows.

    Attributes:
        path: the file.
        suffix: `_t3_z0` or so for the names of results; empty where the file holds one image.
        axes: of the file, for example `T=4 C=2 Y=520 X=704`.
        shape: (height, width) in pixels.
        dtype: of the raw values.
        channels: name of each channel; one empty name for a grey image without names.
        pixel_size: micrometres per pixel, where it is known.
        grey: the line from the raw values to what the models know.
        notes: what the user should know about the image, one sentence each.
    """

    def __init__(self, volume: Volume, plane: Plane, rule: GreyRule, options: ImageOptions) -> None:
        """Choose the values; reads a sample of the image.

        Raises:
            InputError: the values are complex numbers, or the file is damaged.
        """
        if volume.dtype.kind not in "buif":
            raise InputError(f"{volume.path}: values of type {volume.dtype}; save real numbers")
        self._volume = volume
        self._read, channels = plane_reader(volume, plane)
        self.path = volume.path
        self.suffix = plane.suffix
        self.axes = volume.describe_axes()
        self.shape = volume.shape
        self.dtype = volume.dtype
        self.channels = channels
        self.pixel_size = options.pixel_size or volume.pixel_size
        self._shown = _shown_channels(volume, plane)
        sample = self._sample()
        if volume.colour and plane.channel is None and _is_grey(sample):
            self.channels, self._shown = ("",), [0]
        sample = sample[:, self._shown]
        self.grey = grey_map(sample, rule, options.invert)
        self.notes = _notes(sample, rule, options.invert)
        if volume.left_out:
            self.notes.append(
                f"the file has {volume.left_out} more image(s) of another size or kind, which are "
                "left out"
            )
        if volume.stack and plane.colour is None and len(self._shown) == 3:
            self.notes.append(
                "its planes are read as red, green and blue; if they are a stack or a series, "
                "choose with --z, --frames or --every_plane"
            )

    def read_window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Raw values, [y1 - y0, x1 - x0, channels]; the window lies inside the image."""
        return self._read(Window(y0, y1, x0, x1))[:, :, : len(self.channels)]

    def window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """What the models are shown of a window: uint8 [y1 - y0, x1 - x0, 3], BGR."""
        shown = self.grey(self.read_window(y0, y1, x0, x1)[:, :, self._shown])
        return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)))

    @cached_property
    def pixels(self) -> np.ndarray:
        """The whole image as the models know it: uint8 [height, width, 3], BGR."""
        return self.window(0, self.shape[0], 0, self.shape[1])

    def _sample(self) -> np.ndarray:
        """Raw values, [N, channels], of the whole or of evenly spread windows."""
        height, width = self.shape
        rows, columns = (_spread(side) for side in (height, width))
        parts = [
            self._read(Window(*row, *column)).reshape(-1, max(len(self.channels), 1))
            for row in rows
            for column in columns
        ]
        return np.concatenate(parts)


def find_planes(path: str | Path, choice: PlaneChoice) -> list[Plane]:
    """The planes of a file that the user wants; of the file only the description is read.

    Raises:
        InputError: the file cannot be read, or has several planes and none was chosen.
    """
    return choose_planes(as_chosen(open_volume(path), choice), choice)


def open_image(
    source: ImageSource, rule: GreyRule = AS_STORED, options: ImageOptions | None = None
) -> CellImage:
    """Open one image.

    Args:
        source: the file and its plane.
        rule: how the models' grey values are.
        options: of the user.

    Raises:
        InputError: the file cannot be read.
    """
    options = options or ImageOptions()
    volume = as_chosen(open_volume(source.path), options.choice)
    plane = source.plane or _only_plane(volume, options.choice)
    return CellImage(volume, plane, rule, options)


def read_image(path: str | Path, rule: GreyRule = AS_STORED) -> np.ndarray:
    """The image of a file that holds one, as the models know it.

    Args:
        path: PNG, JPEG, BMP, TIFF or of another kind that `open_volume` knows.
        rule: how the models' grey values are.

    Returns:
        uint8 [height, width, 3], BGR; grey images have three equal channels.

    Raises:
        InputError: the file is missing, unreadable, or has several planes.
    """
    volume = open_volume(path)
    return CellImage(volume, _annotated_plane(volume), rule, ImageOptions()).pixels


def image_shape(path: str | Path) -> tuple[int, int]:
    """(height, width) of the image of a file that holds one, all of which is read.

    Raises:
        InputError: the file is missing, unreadable, or has several planes.
    """
    return _read_all(path).shape[:2]


def training_rule(paths: Sequence[str | Path]) -> GreyRule:
    """The rule of a model that learns from these images; deeper than 8 bit ones do not count.

    Raises:
        InputError: an image cannot be read, or has several planes.
    """
    planes = map(_read_all, paths)
    return estimate_rule(
        [Histogram.of(plane).statistics() for plane in planes if plane.dtype == np.uint8]
    )


def resize(image: np.ndarray, size: tuple[int, int], library: str) -> np.ndarray:
    """Resize bilinearly.

    Args:
        image: uint8 [height, width, 3].
        size: new (width, height).
        library: "opencv", or "pillow", which averages where it shrinks and rounds differently where
            it enlarges (a fifth of the values differ by one); models see what they were trained on.

    Returns:
        uint8 [new height, new width, 3].
    """
    if library == "pillow":
        return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _only_plane(volume: Volume, choice: PlaneChoice) -> Plane:
    planes = choose_planes(volume, choice)
    if len(planes) > 1:
        raise InputError(f"{volume.path}: holds {len(planes)} images, where one is asked for")
    return planes[0]


def _annotated_plane(volume: Volume) -> Plane:
    """The plane of an image, for scripts in which there is nothing to choose."""
    planes = choose_planes(volume, PlaneChoice(every_plane=True))
    if len(planes) > 1:
        raise InputError(
            f"{volume.path}: has several planes, {volume.describe_axes()}; save the one that is "
            "meant as a file of its own"
        )
    return planes[0]


def _read_all(path: str | Path) -> np.ndarray:
    """Raw values of the image of a file that holds one."""
    volume = open_volume(path)
    plane = _annotated_plane(volume)
    return volume.read(plane.index, Window(0, volume.shape[0], 0, volume.shape[1]))


def _shown_channels(volume: Volume, plane: Plane) -> list[int]:
    """Which of the channels the models are shown: one, or blue, green and red."""
    channel = 0 if plane.channel is None else plane.index[plane.channel]
    if not volume.colour:
        return [channel]
    colours = (2, 1, 0) if plane.colour is None else (plane.colour,)
    return [3 * channel + colour for colour in colours]


def _is_grey(sample: np.ndarray) -> bool:
    return bool((sample[:, 0] == sample[:, 1]).all() and (sample[:, 0] == sample[:, 2]).all())


def _notes(sample: np.ndarray, rule: GreyRule, invert: bool) -> list[str]:
    notes = []
    if sample.dtype.kind == "f":
        bad = 1 - np.isfinite(sample).mean()
        if bad:
            notes.append(f"{bad:.2%} of the values are not finite; they count as background")
    if not invert and looks_inverted(Histogram.of(sample).statistics(), rule):
        notes.append("the contrast looks inverted against the training images'; try --invert")
    return notes


def _spread(side: int) -> list[tuple[int, int]]:
    """Intervals of a side that are sampled: all of it, or some evenly spread."""
    if side <= SAMPLE_GRID * SAMPLE_SIDE:
        return [(0, side)]
    starts = np.linspace(0, side - SAMPLE_SIDE, SAMPLE_GRID).astype(int)
    return [(int(start), int(start) + SAMPLE_SIDE) for start in starts]
