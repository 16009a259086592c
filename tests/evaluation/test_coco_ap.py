"""COCO's average precision against pycocotools used as its documentation says."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from discs import SIZE, annotated, disc, predicted, random_case, truth_set
from helpers import CLASS_NAMES
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cells.annotations import AnnotatedImage
from cells.instances import Instances
from cells.rle import to_rles
from evaluation.coco_ap import coco_average_precision, result_rows


def stock_coco(cases: list[tuple[AnnotatedImage, Instances]], iou_type: str) -> np.ndarray:
    """pycocotools used as its documentation says; precision [10, 101, classes]."""
    truth, found = [], []
    for number, (record, instances) in enumerate(cases):
        for rows, item, rles in ((truth, record, record.rles), (found, instances, None)):
            for i, rle in enumerate(to_rles(instances) if rles is None else rles):
                x1, y1, x2, y2 = item.boxes[i].tolist()
                row = {
                    "id": len(rows) + 1,
                    "image_id": number,
                    "category_id": int(item.labels[i]),
                    "segmentation": rle,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(coco_mask.area(rle)),
                }
                if rles is None:
                    row["score"] = float(instances.scores[i])
                else:
                    row["iscrowd"] = int(record.iscrowd[i])
                rows.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i, _ in enumerate(cases)],
            "annotations": truth,
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES)],
        }
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(found), iou_type)
        evaluator.params.maxDets = [1, 10, 10000]
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"][:, :, :, 0, 2]


def table_of(cases: list[tuple[AnnotatedImage, Instances]], class_agnostic=False) -> pd.DataFrame:
    truth = truth_set([record for record, _ in cases])
    rows = [result_rows(record, found, truth.category_ids) for record, found in cases]
    return coco_average_precision(rows, truth, class_agnostic)


def test_coco_ap_equals_pycocotools(capsys):
    cases = [random_case(seed) for seed in range(6)]
    # one image with more than COCO's 100 detections, and one whose id is a number
    cases.append(random_case(6, 150))
    cases.append((replace(cases[0][0], id=7), cases[0][1]))
    table = table_of(cases)
    assert capsys.readouterr().out == ""
    for iou_type in ("bbox", "segm"):
        precision = stock_coco(cases, iou_type)
        for name, values in (("AP", precision), ("AP50", precision[:1]), ("AP75", precision[5:6])):
            column = table[f"{iou_type} {name}"]
            np.testing.assert_allclose(column[:3], values.mean(axis=(0, 1)), atol=1e-12)
            assert column["all"] == pytest.approx(values.mean(), abs=1e-12)


def test_coco_ap_of_what_is_absent():
    nothing = annotated([])
    empty = predicted([])
    table = table_of([(nothing, empty)])
    assert table.isna().all(axis=None)
    cell = annotated([disc(30, 30, 9)], [1])
    found = predicted([disc(30, 30, 9)], labels=[1])
    assert (table_of([(cell, empty)]).loc["box"] == 0).all()
    table = table_of([(cell, found)])
    assert table.loc["box", "segm AP"] == pytest.approx(1)
    assert table.loc["all", "segm AP"] == pytest.approx(1)
    assert np.isnan(table.loc["disc", "segm AP"])
    wrong = replace(found, labels=np.array([0]))
    assert table_of([(cell, wrong)]).loc["all", "bbox AP"] == 0
    agnostic = table_of([(cell, wrong)], class_agnostic=True)
    assert agnostic.loc["all", "bbox AP"] == pytest.approx(1)
    assert list(agnostic.index) == ["all"]
