"""Steps of the training pipeline that mmdet lacks: loading, warping, grey-value changes."""

from __future__ import annotations

from collections.abc import Sequence

import network.operators  # noqa: F401  (before mmdet)

import cv2
import numpy as np
from mmdet.datasets import PIPELINES

from cells.annotations import AnnotatedImage
from cells.grey import AS_STORED, GreyRule
from cells.images import read_image, resize
from cells.rle import rle_crop
from training.crop_masks import CropMasks


@PIPELINES.register_module()
class LoadCellImage:
    """Read an image exactly as inference does; sets `img` (uint8 BGR) and its shapes.

    Args:
        grey: `inference["grey"]`, see `GreyRule`; None: 8-bit values as they are.
    """

    def __init__(self, grey: dict | None = None) -> None:
        self.grey_rule = GreyRule.from_dict(grey) if grey else AS_STORED

    def __call__(self, results: dict) -> dict:
        record: AnnotatedImage = results["record"]
        image = read_image(record.path, self.grey_rule)
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
        crops = DecodedWhenRead([record.rles[i] for i in cells])
        offsets = record.boxes[cells, :2].astype(np.int64)
        results.update(
            gt_bboxes=record.boxes[cells],
            gt_labels=record.labels[cells],
            gt_masks=CropMasks(crops, offsets, *record.image_size),
            gt_bboxes_ignore=record.boxes[record.iscrowd],
            bbox_fields=["gt_bboxes", "gt_bboxes_ignore"],
            mask_fields=["gt_masks"],
        )
        return results


class DecodedWhenRead(Sequence):
    """Crops of run-length encoded masks, uint8 [h, w] each, decoded when they are asked for.

    A window of a large image holds few of its cells.
    """

    def __init__(self, rles: Sequence[dict]) -> None:
        self.rles = rles

    def __len__(self) -> int:
        return len(self.rles)

    def __getitem__(self, index: int) -> np.ndarray:
        return rle_crop(self.rles[index])[0].astype(np.uint8)


@PIPELINES.register_module()
class RandomWarp:
    """One geometric transform in a single resampling: scale, rotation, flip, elastic, crop.

    The output is a window of fixed size; what lies outside the image is filled with `fill` (the
    background's grey value, which normalisation turns into zero) and holds no cells.

    Args:
        size: (width, height) of the output in pixels.
        network_scale: inference's output pixels per input pixel.
        scale: range of the factor on it, drawn log-uniformly.
        stretch: largest relative change of the aspect ratio.
        rotate: draw any angle; otherwise multiples of 90 degrees.
        elastic: range of the standard deviation of the elastic displacement, in input pixels.
        elastic_sigma: smoothness of the displacement, in output pixels.
        min_visible: cells with a smaller share of their area left are dropped.
        fill: grey value outside the image.
        label_offset: how far the labels lie from the cells, x y in input pixels, see
            `network.label_offset`; it is taken off.
    """

    def __init__(
        self,
        size: tuple[int, int],
        network_scale: float,
        scale: tuple[float, float] = (0.8, 1.25),
        stretch: float = 0.1,
        rotate: bool = True,
        elastic: tuple[float, float] = (0.0, 1.5),
        elastic_sigma: float = 24.0,
        min_visible: float = 0.2,
        fill: float = 128.0,
        label_offset: Sequence[float] = (0.0, 0.0),
    ) -> None:
        self.size = tuple(size)
        self.network_scale = network_scale
        self.scale = scale
        self.stretch = stretch
        self.rotate = rotate
        self.elastic = elastic
        self.elastic_sigma = elastic_sigma
        self.min_visible = min_visible
        self.fill = fill
        self.label_offset = np.array(label_offset)

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
        from_labels = matrix.copy()
        from_labels[:, 2] -= matrix[:, :2] @ self.label_offset
        self._warp_cells(results, from_labels, displacement)
        results["gt_bboxes_ignore"] = self._warp_boxes(results["gt_bboxes_ignore"], from_labels)
        return results

    def _matrix(self, shape: tuple[int, int]) -> np.ndarray:
        """Random affine transform of an image of `shape` (height, width).

        The window's centre is drawn over the whole image, and then moved inward until the window,
        except for what its rotation turns outward, lies inside. So cells at the borders and in
        the corners are seen as often as others, and little of a window is empty.
        """
        scale = self.network_scale * np.exp(np.random.uniform(*np.log(self.scale)))
        aspect = np.exp(np.random.uniform(-self.stretch, self.stretch) / 2)
        angle = np.random.uniform(0, 360) if self.rotate else 90 * np.random.randint(4)
        flip = np.random.choice([-1.0, 1.0])
        turn = cv2.getRotationMatrix2D((0, 0), angle, scale)[:, :2]
        linear = turn @ np.diag([aspect * flip, 1 / aspect])
        extent = np.array(shape[::-1], np.float64)
        half = np.minimum(np.array(self.size) / 2 / scale, extent / 2)
        centre = np.clip(np.random.uniform(0, extent), half, extent - half)
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
        reach = np.abs(displacement).max() * np.abs(matrix[:, :2]).sum(axis=1).max()
        low, high = _moved(results["gt_bboxes"], matrix)
        near = (high > -reach).all(axis=1) & (low < np.array(self.size) + reach).all(axis=1)
        before = results["gt_masks"][np.flatnonzero(near)]
        after = before.warp(matrix, self.size[::-1], displacement)
        whole = before.areas * abs(np.linalg.det(matrix[:, :2]))
        visible = after.areas >= np.maximum(self.min_visible * whole, 1)
        results["gt_masks"] = after[np.flatnonzero(visible)]
        results["gt_bboxes"] = results["gt_masks"].get_bboxes()
        results["gt_labels"] = results["gt_labels"][near][visible]

    def _warp_boxes(self, boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Bounding boxes of transformed boxes, clipped; those outside are dropped."""
        low, high = (np.clip(corner, 0, self.size) for corner in _moved(boxes, matrix))
        moved = np.hstack([low, high]).astype(np.float32)
        return moved[(high > low).all(axis=1)]


def _moved(boxes: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest x y of transformed boxes [N, 4], each float64 [N, 2].

    The matrix takes pixel centres at integers; edges of boxes lie half a pixel before and behind.
    """
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]] - 0.5
    moved = corners @ matrix[:, :2].T + matrix[:, 2] + 0.5
    return moved.min(axis=1), moved.max(axis=1)


@PIPELINES.register_module()
class ResizeToNetwork:
    """Give a crop the size that the image it is cut from has in inference.

    The solution's scale augmentation: the smaller the crop, the larger its cells.

    Args:
        network_scale: inference's output pixels per input pixel.
        library: inference's, see `cells.images.resize`.
        label_offset: see `RandomWarp`.
    """

    def __init__(
        self,
        network_scale: float,
        library: str = "opencv",
        label_offset: Sequence[float] = (0.0, 0.0),
    ) -> None:
        self.network_scale = network_scale
        self.library = library
        self.label_offset = np.array(label_offset)

    def __call__(self, results: dict) -> dict:
        crop, image = results["img"].shape[:2], results["ori_shape"][:2]
        factor = self.network_scale * min(image) / min(crop)
        height, width = (max(1, round(side * factor)) for side in crop)
        results["img"] = resize(results["img"], (width, height), self.library)
        results["img_shape"] = results["img"].shape
        factors = np.array([width / crop[1], height / crop[0]])
        # pixel edges map to pixel edges, as in `resize`
        shift = factors / 2 - 0.5 - factors * self.label_offset
        matrix = np.column_stack([np.diag(factors), shift])
        results["gt_masks"] = results["gt_masks"].warp(matrix, (height, width))
        for key in results["bbox_fields"]:
            moved = (results[key] - np.tile(self.label_offset, 2)) * np.tile(factors, 2)
            limits = np.tile([width, height], 2)
            results[key] = np.clip(moved, 0, limits).astype(np.float32)
        return results


@PIPELINES.register_module()
class RandomIntensity:
    """Random contrast, brightness, blur and noise about the mean grey value of the data.

    Args:
        mean, std: of the training data, in grey levels: what normalisation makes 0 and 1.
        contrast: range of the factor on the difference to `mean`.
        brightness: largest shift, in units of `std`.
        blur: largest sigma of a Gaussian blur, in pixels; applied to half of the images.
        noise: largest sigma of Gaussian noise, in units of `std`; applied to half of the images.
    """

    def __init__(
        self,
        mean: float,
        std: float,
        contrast: tuple[float, float] = (0.6, 1.6),
        brightness: float = 0.35,
        blur: float = 1.5,
        noise: float = 0.35,
    ) -> None:
        self.mean = mean
        self.std = std
        self.contrast = contrast
        self.brightness = brightness
        self.blur = blur
        self.noise = noise

    def __call__(self, results: dict) -> dict:
        image = results["img"].astype(np.float32) - self.mean
        image *= np.exp(np.random.uniform(*np.log(self.contrast)))
        image += self.std * np.random.uniform(-self.brightness, self.brightness)
        if np.random.rand() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), np.random.uniform(0.2, self.blur))
        if np.random.rand() < 0.5:
            # the same noise on all channels: grey images stay grey
            sigma = self.std * np.random.uniform(0, self.noise)
            image += np.random.normal(0, sigma, (*image.shape[:2], 1)).astype(np.float32)
        results["img"] = np.clip(image + self.mean, 0, 255)
        return results
