"""Annotations that number their classes in another order than the models."""

from __future__ import annotations

import numpy as np
from discs import SIZE, disc, predicted

from cells.instances import Candidates
from evaluation.sources import ModelPredictions


class Models:
    """Stands in for an ensemble of the classes a, b and c."""

    class_names = ("a", "b", "c")

    def candidates(self, image, least_score):
        cells = [disc(20 + 20 * i, 20, 8) for i in range(3)]
        return Candidates(predicted(cells, [0.9, 0.8, 0.7], labels=[0, 1, 2]), 1, 0.5)

    def rescored(self, rescore, instances, image):
        return rescore(instances, image)


def test_a_rescoring_sees_the_labels_that_it_knows():
    seen = []

    def drop_the_first(instances, image):
        seen.append(instances.labels.tolist())
        return instances[1:]

    source = ModelPredictions(Models(), ("c", "a", "b"))
    image = np.zeros((*SIZE, 3), np.uint8)
    found = source(None, image)
    assert found.instances.labels.tolist() == [1, 2, 0]  # a, b, c as the annotations number them
    assert found.deciding_class == 2
    rescored = source.rescored(drop_the_first, found.kept, image)
    assert seen == [[0, 1, 2]]
    assert rescored.labels.tolist() == [2, 0]
