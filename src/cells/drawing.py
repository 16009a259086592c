"""Pictures: instances drawn over the image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from cells.instances import Instances
from cells.masks import binary_crops, find_outlines, window_of

FILL_OPACITY = 0.25
MIN_SHORT_SIDE = 1000  # smaller images are enlarged, so that contours and scores stay legible
MAX_ZOOM = 8
LONG_SIDE = 5000  # pixels; larger pictures open slowly in viewers, and browsers refuse some
MAX_OUTLINE_ZOOM = 16  # without scores to be read
LEGEND_HEIGHT = 32  # pixels
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 22  # pixels of a capital letter at font scale 1


def draw_instances(image: np.ndarray, instances: Instances, show_scores: bool = True) -> np.ndarray:
    """Draw contours, a translucent fill and scores in percent.

    Args:
        image: uint8 [height, width, 3], BGR.
        instances: of this image.
        show_scores: write each instance's score inside it, as large as it fits.

    Returns:
        uint8 BGR picture, enlarged by a whole factor where the image is small.
    """
    zoom = zoom_of(image.shape[:2], MAX_ZOOM)
    canvas = cv2.resize(stretch_contrast(image), None, fx=zoom, fy=zoom)
    crops = [enlarge(crop, zoom) for crop in binary_crops(instances)]
    placed = list(
        zip(crops, instances.offsets * zoom, distinct_colors(len(instances)), strict=True)
    )
    for crop, offset, color in placed:
        window = canvas[window_of(crop, offset)]
        inside = crop.astype(bool)
        window[inside] = (1 - FILL_OPACITY) * window[inside] + FILL_OPACITY * np.array(color)
    for crop, offset, color in placed:
        draw_outline(canvas, crop, offset, color, 1 + zoom // 3)
    if show_scores:
        for (crop, offset, _), score in zip(placed, instances.scores, strict=True):
            _write_score(canvas, crop, offset, float(score))
    return canvas


def zoom_of(image_size: tuple[int, ...], most: int) -> int:
    """By how much an image of (height, width) is enlarged to be seen well: a whole number."""
    wanted = -(-MIN_SHORT_SIDE // min(image_size))
    return max(1, min(wanted, most, LONG_SIDE // max(image_size)))


def enlarge(crop: np.ndarray, zoom: int) -> np.ndarray:
    """A mask, bool [h, w], with squares of `zoom` pixels for each of its own, uint8."""
    size = crop.shape[1] * zoom, crop.shape[0] * zoom
    return cv2.resize(crop.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def draw_outline(
    canvas: np.ndarray,
    crop: np.ndarray,
    offset: Sequence[int],
    color: tuple[int, int, int],
    thickness: int,
) -> None:
    """Draw the outer contours of a mask.

    Args:
        canvas: uint8 BGR [height, width, 3], changed in place.
        crop: uint8 [h, w].
        offset: x, y of its top left pixel on the canvas.
        color: BGR.
        thickness: pixels.
    """
    # OpenCV draws smooth lines evenly only from pixel to pixel
    outlines = find_outlines(crop, offset, all_points=True)
    cv2.drawContours(canvas, outlines, -1, color, thickness, cv2.LINE_AA)


def draw_groups(
    image: np.ndarray,
    title: str,
    groups: Sequence[tuple[str, tuple[int, int, int], Sequence[tuple]]],
) -> np.ndarray:
    """Outlines of groups of masks, each in a colour of its own, and a legend that counts them.

    Args:
        image: uint8 [height, width, 3], BGR.
        title: begins the legend.
        groups: name, BGR colour, and masks [h, w] with the places x, y of their top left pixels.
            Later ones are drawn over earlier ones.

    Returns:
        uint8 BGR picture with the legend below, enlarged by a whole factor where the image is
        small.
    """
    zoom = zoom_of(image.shape[:2], MAX_OUTLINE_ZOOM)
    canvas = cv2.resize(stretch_contrast(image), None, fx=zoom, fy=zoom)
    for _, color, crops in groups:
        for crop, offset in crops:
            if crop.size:
                origin = int(offset[0]) * zoom, int(offset[1]) * zoom
                draw_outline(canvas, enlarge(crop, zoom), origin, color, zoom)
    parts = [(f"{len(crops)} {name}", color) for name, color, crops in groups[::-1]]
    return np.vstack([canvas, legend(canvas.shape[1], title, parts)])


def legend(width: int, title: str, parts: Sequence[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    """A black strip with a white title and then texts, each in its BGR colour.

    Returns:
        uint8 BGR [32, width, 3]; what is too wide is cut off.
    """
    strip = np.zeros((LEGEND_HEIGHT, width, 3), np.uint8)
    x = 8
    for text, color in [(title, (255, 255, 255)), *parts]:
        cv2.putText(strip, text, (x, LEGEND_HEIGHT - 10), FONT, 0.6, color, 1, cv2.LINE_AA)
        x += cv2.getTextSize(text, FONT, 0.6, 1)[0][0] + 24
    return strip


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """Stretch grey values between their 0.5 and 99.5 percentiles: phase contrast is faint."""
    step = int(np.ceil(np.sqrt(image.size / 1e6)))  # a million values are enough
    low, high = np.percentile(image[::step, ::step], (0.5, 99.5))
    gain = min(255 / max(high - low, 1), 4)
    return cv2.LUT(image, np.clip((np.arange(256) - low) * gain, 0, 255).astype(np.uint8))


def distinct_colors(count: int) -> list[tuple[int, int, int]]:
    """Bright BGR colours; neighbours in the list differ strongly (golden-ratio hues)."""
    colors = []
    for i in range(count):
        red, green, blue = colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75 + 0.25 * (i % 2), 1.0)
        colors.append((int(255 * blue), int(255 * green), int(255 * red)))
    return colors


def _write_score(canvas: np.ndarray, crop: np.ndarray, offset: np.ndarray, score: float) -> None:
    """Percent at the innermost point of the instance, as large as fits between 8 and 16 pixels."""
    distance = cv2.distanceTransform(np.pad(crop, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    height = float(np.clip(distance.max(), 8, 16))
    text = f"{100 * score:.0f}"
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, height / FONT_HEIGHT, 1)
    origin = (int(offset[0] + x - text_width / 2), int(offset[1] + y + text_height / 2))
    for color, thickness in ((0, 0, 0), 3), ((255, 255, 255), 1):
        cv2.putText(canvas, text, origin, FONT, height / FONT_HEIGHT, color, thickness, cv2.LINE_AA)
