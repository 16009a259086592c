"""Images of any size: at the training's scale, in tiles of the size of a training image.

A tile's own part is at most one training field. Its networks see what they see of such an image
alone, and answer the same: the class that decides on the confidence threshold is the tile's, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from cells.instances import Candidates, Instances
from cells.pictures import ArrayPicture, Picture
from network.detector import NetworkInput
from network.ensemble import Detections, Ensemble
from network.merging import PostProcessing, class_threshold
from network.rescaling import at_training_scale
from network.scale import cell_diameters, training_field
from network.scale_check import scale_warning
from network.seam_views import TileCells
from network.seams import join_tiles
from network.tiles import Tile, by_tile, moved, tile_grid
from utils.device import give_back_memory
from utils.stages import StageTimer, process

GPU_BATCH = 4  # tiles or images of one size that a GPU sees at once
# Tiles between which freed memory goes back: it takes 0.1 s, the pages' return included, and keeps
# 638 tiles from taking up 1.7 GB of holes.
TRIM_EVERY = 16

# What the networks found in an image: in its only tile, or, already put together, in several.
Detected = Detections | Candidates


@dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes:
        image_scale: size of the images' pixels relative to those of the training images.
        tile_size: largest (height, width) of a tile's own part in pixels of the image; default:
            a training field.
        overlap: pixels that neighbouring tiles share.
    """

    image_scale: float = 1.0
    tile_size: tuple[int, int] | None = None
    overlap: int = 0


@dataclass(frozen=True)
class Prepared:
    """An image that is ready for the networks.

    Attributes:
        picture: the image.
        tiles: how it is cut.
        inputs: of its only tile what each view's network takes; None for several tiles.
    """

    picture: Picture
    tiles: Sequence[Tile]
    inputs: Sequence[NetworkInput] | None


class TiledEnsemble:
    """An ensemble that segments images of any size.

    Args:
        ensemble: of models.
        tiling: how images are cut.
        progress: show a bar with the time that is left while an image has several tiles.

    Raises:
        InputError: an impossible overlap.
    """

    def __init__(
        self, ensemble: Ensemble, tiling: Tiling | None = None, progress: bool = True
    ) -> None:
        self.ensemble = ensemble
        self.tiling = tiling or Tiling()
        self.class_names = ensemble.class_names
        self.device = ensemble.device
        self.grey_rule = ensemble.grey_rule
        self.views = ensemble.views
        self.batch_size = GPU_BATCH if ensemble.device.type == "cuda" else 1
        self._progress = progress
        field = training_field(ensemble.views[0].detector.inference)
        scaled = tuple(max(1, round(side / self.tiling.image_scale)) for side in field)
        self.tile_size = self.tiling.tile_size or scaled
        self.tiles((1, 1))

    @property
    def post_processing(self) -> PostProcessing:
        """The thresholds."""
        return self.ensemble.post_processing

    def lower_thresholds(self, share: float) -> None:
        """See `Ensemble.lower_thresholds`."""
        self.ensemble.lower_thresholds(share)

    def at_scale(self, image_scale: float) -> TiledEnsemble:
        """The same for images of other pixels."""
        tiling = replace(self.tiling, image_scale=image_scale)
        return TiledEnsemble(self.ensemble, tiling, self._progress)

    def tiles(self, image_size: tuple[int, int]) -> list[Tile]:
        """The tiles of an image of (height, width) pixels."""
        return tile_grid(image_size, self.tile_size, self.tiling.overlap)

    def predict(self, image: np.ndarray | Picture, timer: StageTimer | None = None) -> Instances:
        """Segment one image.

        Args:
            image: uint8 [height, width, 3], BGR, or something that gives windows of it.
            timer: collects the seconds of each stage.

        Returns:
            Instances that no longer suppress each other, highest score first.
        """
        return self.candidates(image, timer=timer).kept

    def candidates(
        self,
        image: np.ndarray | Picture,
        least_score: float = math.inf,
        timer: StageTimer | None = None,
    ) -> Candidates:
        """Segment one image also below its confidence threshold, see `Ensemble.candidates`.

        An image of several tiles has as many thresholds. With `least_score`, the class that decides
        about most tiles decides about the image.
        """
        timer = timer or StageTimer()
        prepared = self.prepare(image, timer)
        (found,) = self.detect([prepared], timer, least_score, unlowered=True)
        return self._candidates(found, timer)

    def prepare(self, image: np.ndarray | Picture, timer: StageTimer) -> Prepared:
        """Cut an image into tiles; where it is one tile, also what each view's network takes."""
        picture = ArrayPicture(image) if isinstance(image, np.ndarray) else image
        tiles = self.tiles(picture.shape)
        inputs = self._inputs(picture, tiles[0], timer) if len(tiles) == 1 else None
        return Prepared(picture, tiles, inputs)

    def detect(
        self,
        images: Sequence[Prepared],
        timer: StageTimer,
        least_score: float = math.inf,
        unlowered: bool = False,
    ) -> list[Detected]:
        """Run the networks.

        Args:
            images: of the same size.
            timer, least_score: see `candidates`.
            unlowered: of several tiles, also join what `Candidates.unlowered` holds.

        Returns:
            What `finish` takes.
        """
        if images[0].inputs is None:
            return [self._detect_tiles(image, timer, least_score, unlowered) for image in images]
        return self.ensemble.detect([image.inputs for image in images], timer, least_score)

    def finish(self, found: Detected, timer: StageTimer) -> Instances:
        """The instances of an image, highest score first."""
        return self._candidates(found, timer).kept

    def _candidates(self, found: Detected, timer: StageTimer) -> Candidates:
        if isinstance(found, Candidates):
            return found  # tiles are finished one by one
        instances = self.ensemble.finish(found, timer)
        return Candidates(instances, found.deciding_class, found.threshold)

    def notes(self, instances: Instances) -> list[str]:
        """What the user should know about the scale, from what was found in an image."""
        inference = self.views[0].detector.inference
        known = cell_diameters(inference, self.class_names)
        warning = scale_warning(instances, self.class_names, known, self.tiling.image_scale)
        return [warning] if warning else []

    def rescored(
        self,
        rescore: Callable[[Instances, np.ndarray], Instances],
        instances: Instances,
        image: np.ndarray | Picture,
    ) -> Instances:
        """Apply a rescoring, which takes instances and their uint8 BGR image, tile by tile.

        A rescoring learns from images of one field, for example how many cells are in an image,
        and from areas and distances in its pixels: it sees both as they were in training.
        """
        rescore = at_training_scale(rescore, self.tiling.image_scale)
        picture = ArrayPicture(image) if isinstance(image, np.ndarray) else image
        return by_tile(rescore, instances, picture, self.tiles(picture.shape))

    def _inputs(self, picture: Picture, tile: Tile, timer: StageTimer) -> Sequence[NetworkInput]:
        with timer.stage("read"):
            pixels = picture.window(*tile.window)
        return self.ensemble.prepare(pixels, timer, self.tiling.image_scale)

    def _detect_tiles(
        self, image: Prepared, timer: StageTimer, least_score: float, unlowered: bool
    ) -> Candidates:
        """Tiles pass through like images of a folder; in memory are a few of them at a time."""
        size = image.picture.shape

        def load(tile: Tile) -> Sequence[NetworkInput]:
            return self._inputs(image.picture, tile, timer)

        def compute(inputs: Sequence[Sequence[NetworkInput]]) -> Sequence[Detections]:
            return self.ensemble.detect(inputs, timer, least_score)

        def finish(tile: Tile, _: Sequence[NetworkInput], detections: Detections) -> TileCells:
            local = self.ensemble.finish(detections, timer)
            found = moved(local, tile.window.x0, tile.window.y0, size)
            threshold = min(detections.threshold, least_score)
            return TileCells(tile, Candidates(found, detections.deciding_class, threshold))

        stages = process(image.tiles, load, compute, finish, _shapes, self.batch_size)
        bar = tqdm(
            stages, total=len(image.tiles), desc="tiles", leave=False, disable=not self._progress
        )
        parts = []
        for _, future in bar:
            parts.append(future.result())
            if len(parts) % TRIM_EVERY == 0:
                give_back_memory()
        with timer.stage("seams"):
            instances = join_tiles(parts, size, self.post_processing.mask_nms_iou)
            sure, share = None, self.ensemble.threshold_share
            if unlowered and share < 1 and least_score == math.inf:
                own = [_at_own_threshold(part, share) for part in parts]
                sure = join_tiles(own, size, self.post_processing.mask_nms_iou)
        return Candidates(instances, *self._verdict(parts, least_score), sure)

    def _verdict(self, parts: Sequence[TileCells], least_score: float) -> tuple[int, float]:
        """Deciding class and threshold of an image of several tiles."""
        label = Counter(part.found.deciding_class for part in parts).most_common(1)[0][0]
        if least_score == math.inf:
            return label, -math.inf  # all that are left have reached their tile's threshold
        return label, class_threshold(self.post_processing.confidence, self.class_names[label])


def _at_own_threshold(part: TileCells, share: float) -> TileCells:
    """What would have been found in a tile if its threshold had not been lowered to a share."""
    found = replace(part.found, threshold=part.found.threshold / share)
    return replace(part, found=replace(found, instances=found.kept))


def _shapes(inputs: Sequence[NetworkInput]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(one.pixels.shape) for one in inputs)
