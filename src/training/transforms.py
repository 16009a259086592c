"""Steps of the training pipeline that mmdet lacks: loading, warping, grey-value changes."""

from __future__ import annotations

import network.operators  # noqa: F401  (before mmdet)

import cv2
import numpy as np
from mmdet.datasets import PIPELINES

from cells.annotations import AnnotatedImage
from cells.images import read_image
from cells.rle import rle_crop
from training.crop_masks import CropMasks


@PIPELINES.register_module()
class LoadCellImage:
    """Read an image exactly as inference does; sets `img` (uint8 BGR) and its shapes."""

    def __call__(self, results: dict) -> dict:
        record: AnnotatedImage = results["record"]
        image = read_image(record.path)
        results.update(
            filename=str(record.path),
            ori_filename=record.path.name,
            img=image,
            img_shape=image.shape,
            ori_shape=image.shape,
            img_fields=["img"],
        )
        return results


@PIPELINES.register_module()
class LoadCellAnnotations:
    """True boxes, labels and masks; crowd regions become `gt_bboxes_ignore`."""

    def __call__(self, results: dict) -> dict:
        record: AnnotatedImage = results["record"]
        cells = np.flatnonzero(~record.iscrowd)
        results.update(
            gt_bboxes=record.boxes[cells],
            gt_labels=record.labels[cells],
            gt_masks=_decode_crops(record, cells),
            gt_bboxes_ignore=record.boxes[record.iscrowd],
            bbox_fields=["gt_bboxes", "gt_bboxes_ignore"],
            mask_fields=["gt_masks"],
        )
        return results


def _decode_crops(record: AnnotatedImage, indices: np.ndarray) -> CropMasks:
    cells = [rle_crop(record.rles[i]) for i in indices]
    crops = [np.ascontiguousarray(crop, np.uint8) for crop, _ in cells]
    offsets = np.array([offset for _, offset in cells], np.int64)
    return CropMasks(crops, offsets, *record.image_size)


@PIPELINES.register_module()
class RandomWarp:
    """One geometric transform in a single resampling: scale, rotation, flip, elastic, crop.

    The output is a window of fixed size; what lies outside the image is filled with `fill` (the
    background's grey value, which normalisation turns into zero) and holds no cells.

    Args:
        size: (width, height) of the output in pixels.
        scale: range of output pixels per input pixel, drawn log-uniformly.
        stretch: largest relative change of the aspect ratio.
        rotate: draw any angle; otherwise multiples of 90 degrees.
        elastic: range of the standard deviation of the elastic displacement, in input pixels.
        elastic_sigma: smoothness of the displacement, in output pixels.
        min_visible: cells with a smaller share of their area left are dropped.
        fill: grey value outside the image.
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float],
        stretch: float = 0.15,
        rotate: bool = True,
        elastic: tuple[float, float] = (0.0, 1.5),
        elastic_sigma: float = 24.0,
        min_visible: float = 0.2,
        fill: int = 128,
    ) -> None:
        self.size = tuple(size)
        self.scale = scale
        self.stretch = stretch
        self.rotate = rotate
        self.elastic = elastic
        self.elastic_sigma = elastic_sigma
        self.min_visible = min_visible
        self.fill = fill

    def __call__(self, results: dict) -> dict:
        image = results["img"]
        matrix = self._matrix(image.shape[:2])
        displacement = self._displacement()
        inverse = cv2.invertAffineTransform(matrix)
        xs, ys = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in self.size))
        source = np.stack([xs, ys, np.ones_like(xs)], axis=2) @ inverse.T.astype(np.float32)
        source += displacement
        results["img"] = cv2.remap(
            image, source, None, cv2.INTER_LINEAR, borderValue=(self.fill,) * 3
        )
        results["img_shape"] = results["img"].shape
        self._warp_cells(results, matrix, displacement)
        results["gt_bboxes_ignore"] = self._warp_boxes(results["gt_bboxes_ignore"], matrix)
        return results

    def _matrix(self, shape: tuple[int, int]) -> np.ndarray:
        """Random affine transform that keeps the window inside the image where it fits."""
        scale = np.exp(np.random.uniform(*np.log(self.scale)))
        aspect = np.exp(np.random.uniform(-self.stretch, self.stretch) / 2)
        angle = np.random.uniform(0, 360) if self.rotate else 90 * np.random.randint(4)
        flip = np.random.choice([-1.0, 1.0])
        turn = cv2.getRotationMatrix2D((0, 0), angle, scale)[:, :2]
        linear = turn @ np.diag([aspect * flip, 1 / aspect])
        # half extent of the window's bounding box in input pixels
        half = np.abs(np.linalg.inv(linear)) @ (np.array(self.size) / 2)
        extent = np.array(shape[::-1], np.float64)
        low, high = np.minimum(half, extent / 2), np.maximum(extent - half, extent / 2)
        centre = np.random.uniform(low, high)
        shift = np.array(self.size) / 2 - linear @ centre
        return np.hstack([linear, shift[:, None]])

    def _displacement(self) -> np.ndarray:
        """Smooth random field, float32 [height, width, 2], in input pixels."""
        amplitude = np.random.uniform(*self.elastic)
        # Drawn on a coarse grid of one node per sigma: a Gaussian blur of white noise would look
        # the same and cost 50 times as much.
        nodes = [max(2, round(n / self.elastic_sigma)) for n in self.size[::-1]]
        coarse = np.random.normal(0, amplitude, (*nodes, 2)).astype(np.float32)
        return cv2.resize(coarse, self.size, interpolation=cv2.INTER_CUBIC)

    def _warp_cells(self, results: dict, matrix: np.ndarray, displacement: np.ndarray) -> None:
        before = results["gt_masks"]
        after = before.warp(matrix, self.size[::-1], displacement)
        whole = before.areas * abs(np.linalg.det(matrix[:, :2]))
        keep = np.flatnonzero(after.areas >= np.maximum(self.min_visible * whole, 1))
        results["gt_masks"] = after[keep]
        results["gt_bboxes"] = results["gt_masks"].get_bboxes()
        results["gt_labels"] = results["gt_labels"][keep]

    def _warp_boxes(self, boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Bounding boxes of transformed boxes, clipped; those outside are dropped."""
        corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]] @ matrix[:, :2].T + matrix[:, 2]
        limit = np.array(self.size)
        low, high = np.clip(corners.min(axis=1), 0, limit), np.clip(corners.max(axis=1), 0, limit)
        moved = np.hstack([low, high]).astype(np.float32)
        return moved[(high > low).all(axis=1)]


@PIPELINES.register_module()
class RandomIntensity:
    """Random contrast, brightness, gamma, blur and noise about the background's grey value.

    Args:
        contrast: range of the factor on the difference to `centre`.
        brightness: largest shift in grey levels.
        blur: largest sigma of a Gaussian blur, in pixels; applied to half of the images.
        noise: largest sigma of Gaussian noise, in grey levels; applied to half of the images.
        centre: grey value that stays where it is.
    """

    def __init__(
        self,
        contrast: tuple[float, float] = (0.6, 1.6),
        brightness: float = 4.0,
        blur: float = 1.5,
        noise: float = 4.0,
        centre: float = 128.0,
    ) -> None:
        self.contrast = contrast
        self.brightness = brightness
        self.blur = blur
        self.noise = noise
        self.centre = centre

    def __call__(self, results: dict) -> dict:
        image = results["img"].astype(np.float32) - self.centre
        image *= np.exp(np.random.uniform(*np.log(self.contrast)))
        image += np.random.uniform(-self.brightness, self.brightness)
        if np.random.rand() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), np.random.uniform(0.2, self.blur))
        if np.random.rand() < 0.5:
            # the same noise on all channels: grey images stay grey
            sigma = np.random.uniform(0, self.noise)
            image += np.random.normal(0, sigma, (*image.shape[:2], 1)).astype(np.float32)
        results["img"] = np.clip(image + self.centre, 0, 255)
        return results
