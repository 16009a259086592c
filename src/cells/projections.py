"""All channels of one plane, and planes of a stack made one: brightest, mean, or sharpest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from cells.planes import COLOURS, Plane
from cells.readers.volume import Volume, Window

FOCUS_SIDE = 2048  # pixels of the middle of a plane that its sharpness is judged by


def plane_reader(
    volume: Volume, plane: Plane
) -> tuple[Callable[[Window], np.ndarray], tuple[str, ...]]:
    """How the raw values of an image's windows are read, and the names of its channels.

    Returns:
        From a window to [height, width, channels], and a name for each channel: the file's, the
        colours', or numbers; one empty name for a single grey one.
    """
    axis = plane.channel
    count = 1 if axis is None else volume.sizes[axis]
    if plane.projection and plane.projection[0] == "focus":
        sharpest = _sharpest(volume, plane, plane.projection[1])
        plane = Plane({**plane.index, plane.projection[1]: sharpest}, plane.channel)

    def read(window: Window) -> np.ndarray:
        parts = []
        for channel in range(count):
            index = plane.index if axis is None else {**plane.index, axis: channel}
            values = _project(volume, index, plane.projection, window)
            parts.append(values if values.ndim == 3 else values[:, :, None])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    return read, _names(volume, count)


def _names(volume: Volume, count: int) -> tuple[str, ...]:
    names = volume.channel_names or tuple(str(i) for i in range(count))
    names = names if count > 1 else ("",)
    if not volume.colour:
        return names
    return tuple(f"{name} {colour}".strip() for name in names for colour in COLOURS)


def _project(
    volume: Volume, index: Mapping[str, int], projection: tuple[str, str] | None, window: Window
) -> np.ndarray:
    """Raw values of one channel; the mean is float32."""
    if projection is None:
        return volume.read(index, window)
    kind, axis = projection
    planes = (volume.read({**index, axis: at}, window) for at in range(volume.sizes[axis]))
    result = next(planes)
    if kind == "max":
        for values in planes:
            np.fmax(result, values, out=result)  # NaN only where all are
        return result
    total = result.astype(np.float64)
    for values in planes:
        total += values
    return (total / volume.sizes[axis]).astype(np.float32)


def _sharpest(volume: Volume, plane: Plane, axis: str) -> int:
    """The plane whose values bend most from pixel to pixel, noise of single pixels smoothed."""
    height, width = volume.shape
    y0, x0 = max(0, (height - FOCUS_SIDE) // 2), max(0, (width - FOCUS_SIDE) // 2)
    window = Window(y0, min(height, y0 + FOCUS_SIDE), x0, min(width, x0 + FOCUS_SIDE))
    return int(
        np.argmax(
            [
                _sharpness(volume.read({**plane.index, axis: at}, window))
                for at in range(volume.sizes[axis])
            ]
        )
    )


def _sharpness(values: np.ndarray) -> float:
    """Variance of the Laplacian against that of the values."""
    grey: np.ndarray = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    grey = cv2.GaussianBlur(grey.mean(axis=2) if grey.ndim == 3 else grey, (0, 0), 1.0)
    spread = float(grey.var())
    return float(cv2.Laplacian(grey, cv2.CV_32F).var()) / spread if spread > 0 else 0.0
