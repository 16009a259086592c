"""`--report` of an evaluation, of predictions in files: no model is needed."""

from __future__ import annotations

import json
import re

import pytest
import tifffile
from pycocotools import mask as coco_mask

from cells.annotations import load_annotations


@pytest.fixture
def label_images(shapes, tmp_path):
    """The truth of the validation images, without two cells of the second one."""
    truth = load_annotations(shapes / "annotations/annotations_valid_0.json", shapes / "images")
    (tmp_path / "labels").mkdir()
    for number, record in enumerate(truth.images):
        rles = record.rles[2:] if number == 1 else record.rles
        labels = sum((i + 1) * coco_mask.decode(rle) for i, rle in enumerate(rles))
        tifffile.imwrite(tmp_path / "labels" / f"{record.id}.tif", labels)
    return tmp_path / "labels"


def test_worst_images_come_first(start, shapes, label_images, tmp_path):
    data = ("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations")
    out = ("--predictions", label_images, "--out_dir", tmp_path / "out", "--report")
    done = start("evaluate_single_model.py", *data, *out)
    assert done.returncode == 0, done.stderr
    assert f"report: {tmp_path / 'out' / 'report.html'}" in done.stdout
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    assert re.findall(r'alt="(\w+)"', body) == ["valid1", "valid0", "valid2"]
    assert 'data-picture="pictures/AP0.6667_valid1.png"' in body
    assert html.count("data:image/svg+xml") == 1 and "share of" not in body
    mean = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    mean = mean["tables"]["competition metric"]["all"]["mAP"]
    assert f"<dt>mAP</dt><dd>{mean:.4f}</dd>" in html
