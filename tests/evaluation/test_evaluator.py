"""What is measured on an image and kept of it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
from discs import SIZE, annotated, disc, predicted, random_case, truth_set

from cells.annotations import load_annotations
from cells.instances import Candidates, Instances
from evaluation.evaluator import Evaluator, for_each_image
from evaluation.metrics import compare_instances, image_result, summarise


def test_rescoring_is_reported_before_and_after():
    record, false = annotated([disc(20, 30, 8)]), disc(60, 30, 8)
    instances = predicted([disc(20, 30, 8), false], [0.9, 0.8])
    evaluator = Evaluator(
        lambda record, image: Candidates(instances, 0, 0.0),
        truth_set([record]),
        rescore=lambda found, image: found[found.scores > image.max()],
    )
    evaluation = evaluator(record, np.full((*SIZE, 3), 0.85))
    assert evaluation.before.score.ap == 0.5
    assert evaluation.result.score.ap == 1


def test_a_second_level_decides_from_a_share_of_the_threshold_on():
    """What is reported as before is at the models' own threshold."""
    record = annotated([disc(20, 30, 8), disc(60, 30, 8)])
    instances = predicted([disc(20, 30, 8), disc(60, 30, 8), disc(20, 70, 8)], [0.8, 0.5, 0.3])
    seen = []
    evaluator = Evaluator(
        lambda record, image: Candidates(instances, 0, 0.4),
        truth_set([record]),
        rescore=lambda found, image: seen.append(len(found)) or found,
        detection_share=0.5,
    )
    evaluation = evaluator(record, np.zeros((*SIZE, 3), np.uint8))
    assert seen == [2]
    assert evaluation.before.score.ap == 0.5
    assert evaluation.result.score.ap == 1
    assert evaluation.curve.threshold == 0.8


def test_before_is_what_several_tiles_would_have_found_at_their_own_thresholds():
    record = annotated([disc(20, 30, 8), disc(60, 30, 8)])
    instances = predicted([disc(20, 30, 8), disc(60, 30, 8), disc(20, 70, 8)], [0.8, 0.5, 0.3])
    evaluator = Evaluator(
        lambda record, image: Candidates(instances, 0, -np.inf, unlowered=instances[:1]),
        truth_set([record]),
        rescore=lambda found, image: found[:2],
        detection_share=0.5,
    )
    evaluation = evaluator(record, np.zeros((*SIZE, 3), np.uint8))
    assert evaluation.before.score.ap == 0.5
    assert evaluation.result.score.ap == 1


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((*SIZE, 3), np.uint8))
    record, instances = random_case(0)
    record = replace(record, path=tmp_path / "a.png")
    evaluator = Evaluator(lambda record, image: Candidates(instances, 0, 0.0), truth_set([record]))

    def kept(count: int) -> int:
        tracemalloc.start()
        results = for_each_image(evaluator, [record] * count)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(results) == count
        return size

    kept(5)
    full_masks = len(instances) * SIZE[0] * SIZE[1]
    assert (kept(45) - kept(5)) / 40 < full_masks / 4


def test_images_without_a_cell_found_score_nothing(shapes):
    truth = load_annotations(shapes / "annotations/annotations_valid_0.json", shapes / "images")
    results = for_each_image(
        lambda record, image: image_result(
            record, compare_instances(Instances.empty(image.shape[:2]), record)
        ),
        truth.images,
    )
    assert summarise(results, truth.class_names).loc["all", "mAP"] == 0


def test_processes_share_the_images(monkeypatch):
    """Of five images, process 0 takes 0, 2 and 4; all come back in their order."""
    records = [annotated([], image_id=str(number)) for number in range(5)]
    monkeypatch.setattr(
        "evaluation.evaluator.read_ahead", lambda own, rule: ((record, rule) for record in own)
    )
    seen = []

    def gather(shares, mine):
        shares[:] = [mine, ["1!", "3!"]]

    monkeypatch.setattr("evaluation.evaluator.dist.all_gather_object", gather)

    def evaluate(record, rule):
        seen.append((record.id, rule))
        return f"{record.id}!"

    found = for_each_image(evaluate, records, rank=0, world=2, grey_rule="rule")
    assert seen == [("0", "rule"), ("2", "rule"), ("4", "rule")]
    assert found == ["0!", "1!", "2!", "3!", "4!"]


def test_the_final_predictions_are_kept_and_drawn(tmp_path):
    record = annotated([disc(20, 30, 8)])
    instances = predicted([disc(20, 30, 8), disc(60, 30, 8)], [0.9, 0.3])
    evaluator = Evaluator(
        lambda record, image: Candidates(instances, 0, 0.5), truth_set([record]), show_dir=tmp_path
    )
    evaluation = evaluator(record, np.full((*SIZE, 3), 128, np.uint8))
    assert [row["score"] for row in evaluation.coco_rows] == [np.float32(0.9)]
    assert evaluation.coco_rows[0]["category_id"] == 10
    assert evaluation.before is None
    assert evaluation.result.predictions == 1
    assert [path.name for path in tmp_path.iterdir()] == ["AP1.0000_a.png"]
