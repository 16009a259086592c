"""Features of the image within and around an instance's mask, in grey values 0 to 255."""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from cells.masks import window_of
from second_level.features.base import FeatureGroup, MeasuredInstances, columns, ratio

GREY_VALUES = tuple(
    f"im_{name}_pixel" for name in ("min", "max", "median", "mean", "q1", "q3", "std")
)
CONTRAST = ("rim_mean_pixel", "ring_mean_pixel", "ring_std_pixel", "border_contrast")  # new
EDGE = ("border_gradient",)  # new
RING = 3  # pixels; the bright halo of phase contrast is about this wide
DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING + 1, 2 * RING + 1))


def grey_value_features(
    measured: MeasuredInstances, names: Collection[str]
) -> dict[str, np.ndarray]:
    """Statistics of the grey values under the mask.

    As in the reference, a probability of exactly 0.5 does not count here, while it does in areas.
    """
    histograms = np.zeros((len(measured), 256), np.int64)
    crops = zip(measured.instances.masks, measured.instances.offsets.tolist(), strict=True)
    for histogram, (mask, offset) in zip(histograms, crops, strict=True):
        values = measured.grey[window_of(mask, offset)][mask > 0.5]
        histogram[:] = np.bincount(values, minlength=256)
    count = histograms.sum(axis=1)
    levels = np.arange(256)
    mean = ratio(histograms @ levels, count)
    variance = ratio(histograms @ levels**2, count) - mean**2
    quartiles = {q: _histogram_quantile(histograms, q) for q in (0.0, 0.25, 0.5, 0.75, 1.0)}
    return {
        "im_min_pixel": quartiles[0.0],
        "im_max_pixel": quartiles[1.0],
        "im_median_pixel": quartiles[0.5],
        "im_mean_pixel": mean,
        "im_q1_pixel": quartiles[0.25],
        "im_q3_pixel": quartiles[0.75],
        "im_std_pixel": np.sqrt(np.maximum(variance, 0)),
    }


def _histogram_quantile(histograms: np.ndarray, q: float) -> np.ndarray:
    """Quantile with linear interpolation of each histogram's values, NaN without any.

    Args:
        histograms: int [N, 256], number of pixels of each grey value.
        q: from 0 to 1.
    """
    count = histograms.sum(axis=1)
    position = q * np.maximum(count - 1, 0)
    below = np.floor(position)
    up_to = np.cumsum(histograms, axis=1)
    low, high = ((up_to <= place[:, None]).sum(axis=1) for place in (below, np.ceil(position)))
    return np.where(count > 0, low + (high - low) * (position - below), np.nan)


def contrast_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Grey values on both sides of the border: the mask's rim and a ring around it.

    Rim and ring are 3 pixels wide; the contrast is rim - ring. NaN where there is no ring, as
    around a mask that fills the image.
    """
    rows = []
    for mask, extent in zip(measured.masks, measured.extents, strict=True):
        grown, (x1, y1, x2, y2) = _grow(mask, extent, RING, measured.grey.shape)
        grey = measured.grey[y1:y2, x1:x2]
        if not mask.size:
            rows.append([np.nan] * len(CONTRAST))
            continue
        ring = grey[(cv2.dilate(grown, DISC) - grown).view(bool)]
        rim = grey[(grown - cv2.erode(grown, DISC)).view(bool)]
        inside = rim if len(rim) else grey  # a mask that fills the image has no rim either
        if len(ring):
            around = ring.mean(), ring.std(), inside.mean() - ring.mean()
        else:
            around = (np.nan,) * 3
        rows.append([inside.mean(), *around])
    return columns(CONTRAST, rows)


def edge_features(measured: MeasuredInstances, names: Collection[str]) -> dict[str, np.ndarray]:
    """Mean steepness of the image along the mask's border (Sobel, grey values per pixel)."""
    across = cv2.Sobel(measured.grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(measured.grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    steepness = cv2.magnitude(across, down)
    values = []
    for pieces in measured.outlines:
        points = pieces[0][:, 0] if pieces else np.zeros((0, 2), np.int32)
        values.append(steepness[points[:, 1], points[:, 0]].mean() if len(points) else np.nan)
    return {"border_gradient": np.array(values, np.float64)}


def _grow(
    mask: np.ndarray, extent: np.ndarray, margin: int, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The mask, uint8, with a margin of zeros as far as the image reaches, and its box."""
    height, width = image_size
    low = np.maximum(extent[:2] - margin, 0)
    high = np.minimum(extent[2:] + margin, (width, height))
    (left, top), (right, bottom) = extent[:2] - low, high - extent[2:]
    grown = cv2.copyMakeBorder(
        np.ascontiguousarray(mask).view(np.uint8), top, bottom, left, right, cv2.BORDER_CONSTANT
    )
    return grown, np.concatenate([low, high])


GROUPS = (
    FeatureGroup(GREY_VALUES, grey_value_features),
    FeatureGroup(CONTRAST, contrast_features),
    FeatureGroup(EDGE, edge_features),
)
