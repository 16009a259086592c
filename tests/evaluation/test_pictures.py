"""Pictures of an evaluation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from discs import SIZE, annotated, disc, predicted
from matplotlib.figure import Figure

from evaluation.metrics import compare_instances
from evaluation.pictures import (
    FALSE_POSITIVE,
    MISS,
    TRUE_POSITIVE,
    draw_errors,
    plot_precision_recall,
    write_error_picture,
)
from evaluation.thresholds import CONFIDENCES, image_curve


def test_three_colours():
    """One cell found, one missed, one invented: outlines in the colour of each."""
    found, missed, invented = disc(15, 15, 8), disc(60, 15, 8), disc(40, 45, 8)
    record, instances = annotated([found, missed]), predicted([found, invented])
    comparison = compare_instances(instances, record)
    image = np.full((*SIZE, 3), 128, np.uint8)
    picture = draw_errors(image, record, instances, comparison)
    for color, (x, y) in ((TRUE_POSITIVE, (15, 15)), (MISS, (60, 15)), (FALSE_POSITIVE, (40, 45))):
        ys, xs = np.nonzero((picture[: 16 * 60] == color).all(axis=2))
        assert abs(xs.mean() / 16 - x) < 1.5
        assert abs(ys.mean() / 16 - y) < 1.5


def test_colours_of_the_palette():
    """Okabe and Ito's bluish green, vermillion and yellow."""
    colours = [
        f"{red:02X}{green:02X}{blue:02X}"
        for blue, green, red in (TRUE_POSITIVE, FALSE_POSITIVE, MISS)
    ]
    assert colours == ["009E73", "D55E00", "F0E442"]


def test_predictions_in_crowd_regions_are_not_drawn():
    record = annotated([disc(40, 45, 8)], iscrowd=[True])
    instances = predicted([disc(40, 45, 8)])
    image = np.full((*SIZE, 3), 128, np.uint8)
    picture = draw_errors(image, record, instances, compare_instances(instances, record))
    assert not picture[: 16 * 60].any()  # nothing to stretch, and no outline
    assert picture[16 * 60 :].any()  # the legend


def test_precision_and_recall_are_plotted(tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, path: figures.append(figure) or save(figure, path)
    )
    record, found = annotated([disc(20, 30, 8)]), predicted([disc(20, 30, 8)], [0.5])
    curve = image_curve(compare_instances(found, record), found.scores, 0, 0.1)
    plot_precision_recall(tmp_path / "curve.png", [curve])
    assert cv2.imread(str(tmp_path / "curve.png")).shape == (600, 900, 3)
    (axes,) = figures[0].axes
    lines = {line.get_label(): line.get_xydata().T for line in axes.get_lines()}
    assert lines.keys() == {"precision", "recall"}
    for confidences, _ in lines.values():
        assert confidences == pytest.approx(CONFIDENCES)
    assert lines["recall"][1] == pytest.approx((CONFIDENCES <= 0.5).astype(float))
    assert lines["precision"][1][:46] == pytest.approx(1)
    assert np.isnan(lines["precision"][1][46:]).all()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["precision", "recall"]
    assert axes.get_xlim() == (0, 1)
    assert axes.get_ylim()[0] == 0 and 1 < axes.get_ylim()[1] < 1.1  # the line at 1 is seen


def test_a_cell_is_found_from_the_least_iou_of_the_metric_on():
    whole, part = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    whole[10:14, 20:45] = part[10:14, 20:33] = True  # IoU 0.52
    record, instances = annotated([whole]), predicted([part])
    image = np.full((*SIZE, 3), 128, np.uint8)
    picture = draw_errors(image, record, instances, compare_instances(instances, record))
    colours = {tuple(pixel) for pixel in picture[: 16 * 60].reshape(-1, 3).tolist()}
    assert TRUE_POSITIVE in colours
    assert not {FALSE_POSITIVE, MISS} & colours


def test_only_pictures_of_the_same_image_are_replaced(tmp_path):
    record, instances = annotated([disc(20, 30, 8)], image_id="a"), predicted([disc(20, 30, 8)])
    for name in ("AP0.5000_a.png", "AP0.5000_ba.png", "AP0.5000_a.b.png", "AP_a.png"):
        (tmp_path / name).write_text("x")
    image = np.full((*SIZE, 3), 128, np.uint8)
    write_error_picture(tmp_path, image, record, instances, compare_instances(instances, record))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("AP0.5000_a.b.png", "AP0.5000_ba.png", "AP1.0000_a.png", "AP_a.png")
    ]
