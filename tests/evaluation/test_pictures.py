"""Pictures of an evaluation."""

from __future__ import annotations

import numpy as np
from discs import SIZE, annotated, disc, predicted

from evaluation.metrics import compare_instances
from evaluation.pictures import FALSE_POSITIVE, MISS, TRUE_POSITIVE, draw_errors


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
