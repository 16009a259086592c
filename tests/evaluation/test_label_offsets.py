"""How far labels lie beside the cells that are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from discs import annotated, disc, predicted

from cells.annotations import NO_TYPE
from evaluation.label_offsets import label_offsets, offset_advice, offset_table
from evaluation.metrics import compare_instances


def offsets_of(true, found) -> np.ndarray:
    record, instances = annotated(true), predicted(found, [0.9] * len(found))
    return label_offsets(instances, record, compare_instances(instances, record))


def test_offsets_are_of_true_cells_from_those_that_find_them():
    """Of three true cells one is missed, and one of the predictions is false."""
    true = [disc(20, 20, 8), disc(60, 20, 8), disc(20, 50, 8)]
    found = [disc(61, 21, 8), disc(60, 50, 8), disc(20, 19, 8)]
    expected = [centre(true[1]) - centre(found[0]), centre(true[0]) - centre(found[2])]
    np.testing.assert_allclose(offsets_of(true, found), expected)
    assert offsets_of(true, []).shape == offsets_of([], found).shape == (0, 2)


def centre(mask: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(mask)
    return np.array([xs.mean(), ys.mean()])


def test_crowd_regions_are_no_cells():
    record, instances = annotated([disc(20, 30, 8)]), predicted([disc(20, 30, 8)], [0.9])
    record = replace(record, iscrowd=np.array([True]))
    assert not len(label_offsets(instances, record, compare_instances(instances, record)))


def test_medians_by_type():
    offsets = [np.array([[0.0, 1], [1, 1], [8, 1]]), np.array([[2.0, -1]]), np.zeros((0, 2))]
    table = offset_table(offsets, [1, 0, NO_TYPE], ["a", "b", "c"])
    assert list(table.index) == ["a", "b", "all"]
    assert table["cells"].tolist() == [1, 3, 4]
    assert table[["x", "y"]].to_numpy().tolist() == [[2, -1], [1, 1], [1.5, 1]]
    # standard error of a mean, times 1.2533 for a median
    error = 1.2533 * np.std([0, 1, 8, 2]) / 2
    assert table.loc["all", "error of x"] == pytest.approx(error, rel=1e-3)
    assert offset_table([np.zeros((0, 2))], [0], ["a"]).empty


@pytest.mark.parametrize(
    ("shift", "spread", "count", "advised"),
    [
        ((0.0, -0.33), 1.0, 4000, "--label_offset 0 -0.33"),
        ((0.5, 0.0), 1.0, 4000, "--label_offset 0.5 0"),
        ((0.05, -0.05), 0.1, 4000, None),  # sure, but too small to matter
        ((0.0, -0.33), 1.0, 20, None),  # may be chance
    ],
)
def test_advice_is_given_about_what_is_no_chance(shift, spread, count, advised):
    even = np.linspace(-spread, spread, count)
    offsets = np.stack([even, even], axis=1) + shift
    advice = offset_advice(offset_table([offsets], [0], ["a"]))
    assert (advice is None) == (advised is None)
    assert advised is None or advised in advice
