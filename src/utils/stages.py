"""Loading, computing and finishing at the same time, and the time and memory that stages take."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Computed = TypeVar("Computed")
Result = TypeVar("Result")

BEHIND = 2  # items whose results may wait to be finished


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], ahead: int = 1
) -> Iterator[tuple[Item, Future[Loaded]]]:
    """Load items in a thread, `ahead` of the one that is worked on.

    Yields:
        Each item, in order, with the future of what `load` makes of it.
    """
    with ThreadPoolExecutor(1) as pool:
        pending: deque[tuple[Item, Future[Loaded]]] = deque()
        for item in items:
            pending.append((item, pool.submit(load, item)))
            if len(pending) > ahead:
                yield pending.popleft()
        yield from pending


def process(
    items: Iterable[Item],
    load: Callable[[Item], Loaded],
    compute: Callable[[Sequence[Loaded]], Sequence[Computed]],
    finish: Callable[[Item, Loaded, Computed], Result],
    key: Callable[[Loaded], object],
    batch_size: int = 1,
) -> Iterator[tuple[Item, Future[Result]]]:
    """Load in one thread, compute in this one, finish in another.

    Args:
        items: what to work on.
        load: prepares an item.
        compute: works on up to `batch_size` neighbouring items at once.
        finish: makes the result.
        key: items go into one batch where this is the same.
        batch_size: items in a batch at most.

    Yields:
        Each item, in order, with the future of its result; one that fails in any of the three does
        not stop the others.
    """
    with ThreadPoolExecutor(1) as pool:
        unfinished: deque[tuple[Item, Future]] = deque()
        for batch in _batches(load_ahead(items, load, batch_size), key, batch_size):
            if batch[0][1].exception():
                unfinished += batch
            else:
                loaded = [future.result() for _, future in batch]
                results = _compute(compute, loaded)
                for (item, _), value, computed in zip(batch, loaded, results, strict=True):
                    # what failed in `compute` is raised again in `_finish`, at the item's turn
                    done = pool.submit(_finish, finish, item, value, computed)
                    unfinished.append((item, done))
            while len(unfinished) > BEHIND:
                yield unfinished.popleft()
        yield from unfinished


def _compute(
    compute: Callable[[Sequence[Loaded]], Sequence[Computed]], loaded: Sequence[Loaded]
) -> list[Future[Computed]]:
    """Compute a batch; where that fails, one by one, so that only the culprit fails."""
    futures: list[Future[Computed]] = [Future() for _ in loaded]
    try:
        for future, result in zip(futures, compute(loaded), strict=True):
            future.set_result(result)
    except Exception as error:
        if len(loaded) > 1:
            return [_compute(compute, [one])[0] for one in loaded]
        futures[0].set_exception(error)
    return futures


def _finish(
    finish: Callable[[Item, Loaded, Computed], Result],
    item: Item,
    loaded: Loaded,
    computed: Future[Computed],
) -> Result:
    return finish(item, loaded, computed.result())


def _batches(
    loaded: Iterable[tuple[Item, Future[Loaded]]], key: Callable[[Loaded], object], size: int
) -> Iterator[list[tuple[Item, Future[Loaded]]]]:
    """Neighbours of the same key; an item that could not be loaded is alone."""
    batch: list[tuple[Item, Future[Loaded]]] = []
    last = None
    for item, future in loaded:
        this = None if future.exception() else key(future.result())
        if batch and (this is None or this != last or len(batch) == size):
            yield batch
            batch = []
        batch.append((item, future))
        last = this
    if batch:
        yield batch


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, in MB of 2**20 bytes (Linux, macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


class StageTimer:
    """Adds up the wall time of named stages.

    Example:
        >>> timer = StageTimer()
        >>> with timer.stage("read"):
        ...     pass
        >>> sorted(timer.seconds)
        ['read']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the enclosed block under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
