"""True masks for mmdet's training pipelines, kept as crops.

mmdet's own `BitmapMasks` are full frames: 500 cells at 1024 x 1386 are 700 MB and half a second for
a resize. Here every operation costs time and memory in proportion to the cells' own areas.
"""

from __future__ import annotations

from collections.abc import Sequence

import network.operators  # noqa: F401  (before mmdet)

import cv2
import numpy as np
import torch
from mmdet.core.mask.structures import BaseInstanceMasks, BitmapMasks

from cells.masks import paste


class CropMasks(BaseInstanceMasks):
    """Binary masks of one image, each a crop with the position of its top left pixel.

    Args:
        crops: N arrays uint8 [h, w] of 0 and 1, possibly made when they are read.
        offsets: int [N, 2], x y of each crop in the image; crops may reach outside the image, where
            they do not count.
        height, width: size of the image in pixels.
    """

    def __init__(
        self, crops: Sequence[np.ndarray], offsets: np.ndarray, height: int, width: int
    ) -> None:
        self.crops = crops
        self.offsets = np.asarray(offsets, np.int64).reshape(-1, 2)
        self.height = int(height)
        self.width = int(width)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int | np.ndarray) -> CropMasks:
        chosen = np.atleast_1d(np.arange(len(self))[index])
        crops = [self.crops[i] for i in chosen]
        return CropMasks(crops, self.offsets[chosen], self.height, self.width)

    def warp(
        self,
        matrix: np.ndarray,
        out_shape: tuple[int, int],
        displacement: np.ndarray | None = None,
    ) -> CropMasks:
        """Masks after a geometric transform, sampled bilinearly and binarised at 0.5.

        Args:
            matrix: float [2, 3], output pixel = matrix @ (input pixel, 1), centres at integers.
            out_shape: (height, width) of the output.
            displacement: float32 [height, width, 2], added to each output pixel's source
                position, in input pixels.
        """
        inverse = cv2.invertAffineTransform(np.asarray(matrix, np.float64))
        stretch = np.abs(matrix[:, :2]).sum(axis=1)
        reach = 0.0 if displacement is None or not displacement.size else np.abs(displacement).max()
        margin = np.ceil(stretch * (reach + 1))
        results = [
            self._warp_one(crop, offset, matrix, inverse, margin, out_shape, displacement)
            for crop, offset in zip(self.crops, self.offsets, strict=True)
        ]
        offsets = np.array([offset for _, offset in results], np.int64)
        return CropMasks([crop for crop, _ in results], offsets, *out_shape)

    @staticmethod
    def _warp_one(crop, offset, matrix, inverse, margin, out_shape, displacement):
        height, width = crop.shape
        corners = offset + np.array(
            [[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]
        )
        moved = corners @ matrix[:, :2].T + matrix[:, 2]
        limit = np.array(out_shape[::-1])
        low = np.clip(np.floor(moved.min(axis=0) - margin), 0, limit).astype(int)
        high = np.clip(np.ceil(moved.max(axis=0) + margin) + 1, 0, limit).astype(int)
        if (high <= low).any():
            return np.zeros((1, 1), np.uint8), (0, 0)
        xs = np.arange(low[0], high[0], dtype=np.float32)
        ys = np.arange(low[1], high[1], dtype=np.float32)
        source_x = inverse[0, 0] * xs + inverse[0, 1] * ys[:, None] + inverse[0, 2] - offset[0]
        source_y = inverse[1, 0] * xs + inverse[1, 1] * ys[:, None] + inverse[1, 2] - offset[1]
        if displacement is not None:
            source_x = source_x + displacement[low[1] : high[1], low[0] : high[0], 0]
            source_y = source_y + displacement[low[1] : high[1], low[0] : high[0], 1]
        soft = cv2.remap(
            crop * np.uint8(255),
            source_x.astype(np.float32),
            source_y.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        return (soft >= 128).astype(np.uint8), low

    def crop_and_resize(
        self, bboxes, out_shape, inds, device="cpu", interpolation="bilinear", binarize=True
    ):
        """Mask targets: each box sampled bilinearly at the centres of a grid of `out_shape`.

        Args:
            bboxes: float [K, 4], x1 y1 x2 y2.
            out_shape: (h, w) of a target.
            inds: int [K], the mask of each box.
        """
        targets = np.zeros((len(bboxes), *out_shape), np.float32)
        rows, columns = (np.arange(n, dtype=np.float32) + 0.5 for n in out_shape)
        for target, (x1, y1, x2, y2), i in zip(targets, bboxes, inds, strict=True):
            x, y = self.offsets[i]
            # -0.5: boxes live on pixel edges, samples on pixel centres
            source_x = x1 + columns * ((x2 - x1) / out_shape[1]) - 0.5 - x
            source_y = y1 + rows * ((y2 - y1) / out_shape[0]) - 0.5 - y
            grid_x, grid_y = np.meshgrid(source_x, source_y)
            target[:] = cv2.remap(
                self.crops[i].astype(np.float32),
                grid_x.astype(np.float32),
                grid_y.astype(np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
            )
        return BitmapMasks((targets >= 0.5).astype(np.uint8) if binarize else targets, *out_shape)

    def sample(self, points: np.ndarray, inds: np.ndarray) -> np.ndarray:
        """Masks at points, bilinearly between pixel centres, which lie at halves.

        Args:
            points: float32 [K, P, 2], x y in pixels.
            inds: int [K], the mask of each row of points.

        Returns:
            float32 [K, P].
        """
        values = np.zeros(points.shape[:2], np.float32)
        for row, places, i in zip(values, points, inds, strict=True):
            source = (places - 0.5 - self.offsets[i]).astype(np.float32)
            crop = self.crops[i].astype(np.float32)
            row[:] = cv2.remap(
                crop, source[:, None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
            )[:, 0]
        return values

    def resize(self, out_shape, interpolation="nearest"):
        """Stretch to (height, width); pixel edges map to pixel edges, as in `cv2.resize`."""
        sy, sx = out_shape[0] / self.height, out_shape[1] / self.width
        return self.warp(np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5]]), tuple(out_shape))

    def rescale(self, scale, interpolation="nearest"):
        """Enlarge or shrink by a factor, or to fit into (long side, short side)."""
        import mmcv

        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width))

    def flip(self, flip_direction="horizontal"):
        """Mirror: horizontal, vertical or diagonal (both)."""
        matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
        if flip_direction in ("horizontal", "diagonal"):
            matrix[0] = -1, 0, self.width - 1
        if flip_direction in ("vertical", "diagonal"):
            matrix[1] = 0, -1, self.height - 1
        return self.warp(matrix, (self.height, self.width))

    def crop(self, bbox):
        """Cut to the window x1 y1 x2 y2 (integers), clipped to the image."""
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        return self._shift(-x1, -y1, (max(y2 - y1, 1), max(x2 - x1, 1)))

    def pad(self, out_shape, pad_val=0):
        """Grow the frame to the right and bottom."""
        return self._shift(0, 0, out_shape)

    def expand(self, expanded_h, expanded_w, top, left):
        """Grow the frame on all sides."""
        return self._shift(left, top, (expanded_h, expanded_w))

    def translate(self, out_shape, offset, direction="horizontal", fill_val=0, interpolation=None):
        """Move by `offset` pixels."""
        dx, dy = (offset, 0) if direction == "horizontal" else (0, offset)
        return self.warp(np.array([[1.0, 0, dx], [0, 1.0, dy]]), tuple(out_shape))

    def rotate(self, out_shape, angle, center=None, scale=1.0, fill_val=0):
        """Rotate clockwise by `angle` degrees about `center` (default: the image's)."""
        center = center or ((self.width - 1) / 2, (self.height - 1) / 2)
        return self.warp(cv2.getRotationMatrix2D(center, -angle, scale), tuple(out_shape))

    def shear(
        self, out_shape, magnitude, direction="horizontal", border_value=0, interpolation=None
    ):
        """Shear by `magnitude` pixels per pixel."""
        matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
        matrix[(0, 1) if direction == "horizontal" else (1, 0)] = magnitude
        return self.warp(matrix, tuple(out_shape))

    def _shift(self, dx: int, dy: int, out_shape: tuple[int, int]) -> CropMasks:
        """Move by whole pixels and cut to the new frame."""
        height, width = (int(side) for side in out_shape)
        crops, offsets = [], []
        for crop, (x, y) in zip(self.crops, self.offsets + (int(dx), int(dy)), strict=True):
            inside = crop[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
            crops.append(inside if inside.size else np.zeros((1, 1), np.uint8))
            offsets.append((max(x, 0), max(y, 0)) if inside.size else (0, 0))
        return CropMasks(crops, np.array(offsets), height, width)

    @property
    def areas(self) -> np.ndarray:
        """Foreground pixels of each mask, int64 [N]."""
        return np.array([int(crop.sum()) for crop in self.crops], np.int64)

    def get_bboxes(self) -> np.ndarray:
        """Tight boxes x1 y1 x2 y2, float32 [N, 4]; zeros for an empty mask."""
        boxes = np.zeros((len(self), 4), np.float32)
        for box, crop, (x, y) in zip(boxes, self.crops, self.offsets, strict=True):
            columns, rows = np.flatnonzero(crop.any(axis=0)), np.flatnonzero(crop.any(axis=1))
            if rows.size:
                box[:] = x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1
        return boxes

    def to_ndarray(self) -> np.ndarray:
        """Full frames, uint8 [N, height, width]; for tests and small images."""
        frames = [
            paste(crop, offset, (self.height, self.width))
            for crop, offset in zip(self.crops, self.offsets, strict=True)
        ]
        return np.stack(frames) if frames else np.zeros((0, self.height, self.width), np.uint8)

    def to_tensor(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """`to_ndarray` as a tensor."""
        return torch.as_tensor(self.to_ndarray(), dtype=dtype, device=device)
