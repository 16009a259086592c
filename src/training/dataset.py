"""Training data: an endless, reproducible stream of augmented samples."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial

import network.operators  # noqa: F401  (before mmdet)

import numpy as np
from mmcv import Config
from mmcv.parallel import collate
from mmdet.datasets.pipelines import Compose
from torch.utils.data import DataLoader, Dataset, Sampler

import training.transforms  # noqa: F401  (registers the pipeline steps)
from cells.annotations import NO_TYPE, AnnotatedImage
from training.config import training_pipeline
from training.interruption import SIGNALS
from utils.device import seed_everything

MOST_REPEATS = 10


class CellDataset(Dataset):
    """Annotated images through an mmdet training pipeline.

    A sample is asked for by (index, position): the random numbers of its augmentation follow from
    `seed` and its position in the stream alone, whatever the number of workers.
    """

    def __init__(self, records: list[AnnotatedImage], pipeline: list[dict], seed: int) -> None:
        self.records = records
        self.pipeline = Compose(pipeline)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        index, position = key
        seed_everything(self.seed, position)
        sample = self.pipeline({"record": self.records[index]})
        if sample is None:
            raise RuntimeError(
                "a pipeline step returned None; let it keep images without cells "
                "(allow_negative_crop=True, keep_empty=False)"
            )
        return sample


class EndlessSampler(Sampler):
    """Endless shuffled passes over the data, shared among the processes of a distributed run.

    The stream is a pure function of the seed, so that it can start at any position: resuming is
    exact, and N processes see together what one process with N times the batch size sees.

    Args:
        length: number of images.
        batch_size: samples per process and iteration.
        seed: of the shuffling.
        start_iter: iteration to start from.
        rank, world_size: this process and the number of processes.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, start_iter: int, rank: int, world_size: int
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.start_iter = start_iter
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        iteration = self.start_iter
        while True:
            first = (iteration * self.world_size + self.rank) * self.batch_size
            for position in range(first, first + self.batch_size):
                yield self._index(position), position
            iteration += 1

    def __len__(self) -> int:
        return 2**62  # endless, for code that compares its progress with the length

    def _index(self, position: int) -> int:
        epoch, within = divmod(position, self.length)
        if epoch != getattr(self, "_epoch", None):
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        return int(self._order[within])


def balance_cell_types(records: list[AnnotatedImage]) -> list[AnnotatedImage]:
    """Repeat the images of rare cell types until each type is seen about equally often.

    An image is repeated `MOST_REPEATS` times at most: three images say little however often they
    are seen. An image's type is its most frequent true class; images without cells stay alone.
    """
    types = [record.cell_type for record in records]
    counts = Counter(kind for kind in types if kind != NO_TYPE)
    most = max(counts.values(), default=1)
    repeats = [
        min(round(most / counts[kind]), MOST_REPEATS) if kind != NO_TYPE else 1 for kind in types
    ]
    return [record for record, n in zip(records, repeats, strict=True) for _ in range(n)]


def build_loader(
    records: list[AnnotatedImage],
    pipeline: list[dict],
    *,
    batch_size: int,
    workers: int,
    seed: int,
    start_iter: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """DataLoader whose batches are mmcv's collated DataContainers."""
    return DataLoader(
        CellDataset(records, pipeline, seed),
        batch_size=batch_size,
        sampler=EndlessSampler(len(records), batch_size, seed, start_iter, rank, world_size),
        num_workers=workers,
        collate_fn=partial(collate, samples_per_gpu=batch_size),
        persistent_workers=workers > 0,
        worker_init_fn=_prepare_worker,
    )


def training_loader(config: Config, records: list[AnnotatedImage], **options: int) -> DataLoader:
    """What a training with this config sees of these images.

    Args:
        config: says what is done with an image, and how often it is seen.
        records: training images.
        options: `build_loader`'s but for the seed, which is the config's.
    """
    return build_loader(
        balance_cell_types(records) if config.balance_cell_types else records,
        training_pipeline(config),
        seed=config.seed,
        **options,
    )


def _prepare_worker(worker: int) -> None:
    """A worker is one process on one core; OpenCV's own threads would compete with the training.

    It goes on after a Ctrl-C or SIGTERM: the training ends after a step, see `InterruptionHook`.
    """
    import cv2

    cv2.setNumThreads(0)
    for number in SIGNALS:  # torchrun sends SIGTERM to workers, too
        signal.signal(number, signal.SIG_IGN)
