"""What a writer of results is given: one image with its instances and its names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cells.images import CellImage
from cells.instances import Instances
from cells.masks import visible_crops


@dataclass(frozen=True)
class SegmentedImage:
    """One image and what was found in it.

    Attributes:
        name: stem of its results, unique in a run.
        file_name: the image file, relative to the folder that was segmented, with suffix and "/".
        image: uint8 [height, width, 3], BGR, as the models saw it; None where there is `source`.
        instances: N instances, best first.
        class_names: by label.
        source: the image in its file, with raw values of every channel, which are measured; None
            where there is no file: then `image` is measured.
    """

    name: str
    file_name: str
    image: np.ndarray | None
    instances: Instances
    class_names: Sequence[str]
    source: CellImage | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that are measured."""
        return self.source.channels if self.source else ("",)

    @property
    def pixel_size(self) -> float | None:
        """Micrometres per pixel, where it is known."""
        return self.source.pixel_size if self.source else None

    def raw_window(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Values of a window to measure, [y1 - y0, x1 - x0, channels]."""
        if self.source:
            return self.source.read_window(y0, y1, x0, x1)
        assert self.image is not None
        return self.image[y0:y1, x0:x1].mean(axis=2, keepdims=True)

    @cached_property
    def visible(self) -> list[np.ndarray]:
        """What the label image shows of each instance, N arrays bool [h, w] (`visible_crops`)."""
        return visible_crops(self.instances)
