"""Loading ahead, computing in batches, finishing behind."""

from __future__ import annotations

import threading

import pytest

from utils.stages import load_ahead, process


def test_everything_comes_in_order_and_in_batches_of_equal_key():
    batches = []

    def compute(loaded):
        batches.append(list(loaded))
        return [value * 10 for value in loaded]

    def load(item):
        if item == 13:
            raise ValueError("unlucky")
        return item

    items = [1, 3, 5, 2, 13, 4, 6, 8, 10]
    done = list(
        process(items, load, compute, lambda *a: a, key=lambda value: value % 2, batch_size=3)
    )
    assert [item for item, _ in done] == items
    assert batches == [[1, 3, 5], [2], [4, 6, 8], [10]]
    for item, future in done:
        if item == 13:
            with pytest.raises(ValueError, match="unlucky"):
                future.result()
        else:
            assert future.result() == (item, item, item * 10)


def test_an_error_at_the_end_does_not_stop_the_others():
    def finish(item, *_):
        return 1 / item

    done = dict(process([1, 0, 2], int, list, finish, key=lambda _: 0))
    assert done[1].result() == 1 and done[2].result() == 0.5
    with pytest.raises(ZeroDivisionError):
        done[0].result()


def test_a_batch_that_fails_is_computed_one_by_one():
    def compute(loaded):
        if 3 in loaded:
            raise MemoryError("too large")
        return loaded

    done = dict(process([1, 3, 5, 7], int, compute, lambda *a: a[0], lambda _: 0, batch_size=3))
    assert [done[item].result() for item in (1, 5, 7)] == [1, 5, 7]
    with pytest.raises(MemoryError, match="too large"):
        done[3].result()


def test_the_next_item_is_loaded_while_one_is_worked_on():
    started = {2: threading.Event()}

    def load(item):
        if item in started:
            started[item].set()
        return item

    for item, _ in load_ahead([1, 2], load):
        if item == 1:
            assert started[2].wait(timeout=30)


def test_nothing():
    assert list(process([], int, list, print, key=id)) == []
