"""Segmenting the images of a run: read, segmented and written at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from cells.exports.picture import write_picture
from cells.exports.segmented import SegmentedImage
from cells.exports.writers import WRITERS
from cells.images import CellImage, ImageOptions, ImageSource, open_image
from cells.instances import Instances
from cells.overview import draw_picture
from network.tiling import Detected, Prepared, TiledEnsemble
from runs.plan import PlannedImage
from runs.records import Records, digest_of
from runs.summary import cell_samples, summary_row
from utils.stages import StageTimer, process

Rescore = Callable[[Instances, np.ndarray], Instances]  # also takes the uint8 BGR image


@dataclass
class Loaded:
    """An image on its way: what was read, and the seconds that it took so far."""

    image: CellImage
    prepared: Prepared
    digest: str
    seconds: float


def segment_files(
    ensemble: TiledEnsemble,
    rescore: Rescore | None,
    images: Sequence[PlannedImage],
    options: ImageOptions,
    records: Records,
    timer: StageTimer,
) -> Iterator[tuple[PlannedImage, Future[str]]]:
    """Segment images and write the results; the next one is read while the last one is written.

    Args:
        ensemble: the models.
        rescore: changes scores and drops instances after the models.
        images: with the files to write for each.
        options: how the images are read.
        records: are kept of each image.
        timer: collects the seconds of each stage.

    Yields:
        Each image with the future of a summary.
    """
    rule = ensemble.grey_rule

    def load(planned: PlannedImage) -> Loaded:
        start = time.perf_counter()
        with timer.stage("read"):
            image = open_image(ImageSource(planned.path, planned.plane), rule, options)
            digest = digest_of(planned.path)
        prepared = ensemble.prepare(image, timer)
        return Loaded(image, prepared, digest, time.perf_counter() - start)

    def compute(batch: Sequence[Loaded]) -> list[Detected]:
        start = time.perf_counter()
        detections = ensemble.detect([loaded.prepared for loaded in batch], timer)
        for loaded in batch:
            loaded.seconds += (time.perf_counter() - start) / len(batch)
        return detections

    def finish(planned: PlannedImage, loaded: Loaded, detections: Detected) -> str:
        start = time.perf_counter()
        instances = ensemble.finish(detections, timer)
        if rescore:
            with timer.stage("2nd level"):
                instances = ensemble.rescored(rescore, instances, loaded.image)
        with timer.stage("write"):
            segmented = SegmentedImage(
                planned.name,
                planned.file_name,
                None,
                instances,
                ensemble.class_names,
                loaded.image,
            )
            changed = records.start(planned, loaded.digest)
            for name, path in planned.files.items():
                if path not in changed:
                    WRITERS[name](path, segmented)
            if planned.picture not in changed:
                write_picture(planned.picture, draw_picture(loaded.image, instances))
        seconds = loaded.seconds + time.perf_counter() - start
        row = summary_row(segmented, seconds)
        records.finish(planned, loaded.digest, row, cell_samples(segmented))
        kept = [f"{path} was changed since it was written, and stays" for path in sorted(changed)]
        notes = [*loaded.image.notes, *ensemble.notes(instances), *kept]
        told = "".join(f"\n  note: {note}" for note in notes)
        return f"{planned.picture}: {_summary(instances, ensemble.class_names)}{told}"

    batch_size = ensemble.batch_size
    return process(images, load, compute, finish, lambda loaded: loaded.image.shape, batch_size)


def _summary(instances: Instances, class_names: tuple[str, ...]) -> str:
    """For example `12 cells (12 cort), mean score 0.87`."""
    if not len(instances):
        return "no cells found"
    counts = [int((instances.labels == label).sum()) for label in range(len(class_names))]
    by_class = ", ".join(f"{n} {name}" for n, name in zip(counts, class_names, strict=True) if n)
    return f"{len(instances)} cells ({by_class}), mean score {instances.scores.mean():.2f}"
