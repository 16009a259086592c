"""The report's parts, and what stands in the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from reports.charts import BINS, Chart, bin_edges, draw_chart, has_values
from reports.numbers import format_number
from reports.page import Page, ReportImage, write_page
from reports.run_report import write_run_report
from reports.thumbnails import LONG_SIDE, make_thumbnail
from runs.names import THUMBNAILS
from runs.plan import plan_images
from runs.records import Records
from runs.summary import sum_up
from utils.paths import ImageFile


def noisy(path: Path, width: int, height: int) -> Path:
    """A picture that JPEG cannot make small."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def page_of(images: list[ReportImage], **more: object) -> Page:
    fields = {"facts": {}, "classes": {}, "charts": [], "files": {}, "record": {}}
    return Page(**{"title": "Cells", "images": images, **fields, **more})


@pytest.mark.parametrize("budget", [100, 2_000, 40_000])
def test_thumbnails_keep_to_their_budget(tmp_path, budget):
    jpeg = make_thumbnail(noisy(tmp_path / "a.png", 900, 600), budget)
    small = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    height, width = small.shape[:2]
    assert width <= LONG_SIDE and abs(width / height - 1.5) < 0.1
    assert len(jpeg) <= max(budget, 1_500)


def test_missing_and_broken_pictures_have_no_thumbnail(tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for name in ("broken.png", "empty.png", "nowhere.png"):
        assert make_thumbnail(tmp_path / name, 1000) is None


def test_bins_follow_the_values():
    edges, logarithmic = bin_edges(np.arange(101.0))
    assert len(edges) == BINS + 1 and not logarithmic
    assert edges[0] == pytest.approx(0.5) and edges[-1] == pytest.approx(99.5)
    assert bin_edges(np.geomspace(1, 10_000, 100))[1]
    edges, _ = bin_edges(np.full(3, 7.0))
    assert edges[0] < 7 < edges[-1]
    edges, logarithmic = bin_edges(np.linspace(-5, 1000, 50))  # no logarithm of what is below 0
    assert not logarithmic


def test_chart_names_the_classes_that_have_values():
    chart = Chart("Size", "pixels", {"a": [1, 2, 3, float("nan")], "b": [], "c": [3341.5]})
    svg = draw_chart(chart, {"a": "#ff0000", "b": "#00ff00", "c": "#0000ff"})
    assert svg.count("<svg") == 1
    assert "a (median 2)" in svg and "b (median" not in svg
    assert "c (median 3342)" in svg  # without a power of ten
    assert not has_values(Chart("Size", "pixels", {"a": [float("nan")], "b": []}))


def test_names_of_files_are_text_and_addresses_are_escaped(tmp_path):
    hostile = "<script>alert('x')</script> & 50%#1.png"
    picture = noisy(tmp_path / "pictures" / "50% #1.png", 60, 40)
    image = ReportImage(hostile, picture, {"cells": 3, "note": None}, {"csv": tmp_path / "ä?.csv"})
    record = {"command": [hostile]}
    write_page(tmp_path / "report.html", page_of([image], title=hostile, record=record))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html
    assert 'data-picture="pictures/50%25%20%231.png"' in html
    assert 'href="%C3%A4%3F.csv"' in html
    assert "cells</button>" in html and "note</button>" not in html  # nobody has a note
    assert "http://" not in html and "https://" not in re.sub('data:[^"]*', "", html)


def test_numbers_are_short():
    shown = [format_number(value) for value in (3, 12345, 0.123456, 1234.56, None, "text")]
    assert shown == ["3", "12345", "0.1235", "1235", "", "text"]


def test_a_thousand_images_stay_under_20_megabytes(tmp_path):
    picture = noisy(tmp_path / "a.png", 240, 180)
    values = {f"column {i}": 123.456 for i in range(10)}
    images = [ReportImage(f"plate/{i}.png", picture, values) for i in range(1000)]
    write_page(tmp_path / "report.html", page_of(images))
    assert 5e6 < (tmp_path / "report.html").stat().st_size < 20e6
    assert not (tmp_path / THUMBNAILS).exists()


def test_thumbnails_of_more_images_lie_beside(tmp_path, monkeypatch):
    monkeypatch.setattr("reports.page.MOST_EMBEDDED", 2)
    picture = noisy(tmp_path / "a.png", 60, 40)
    write_page(tmp_path / "report.html", page_of([ReportImage(str(i), picture) for i in range(3)]))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(list((tmp_path / THUMBNAILS).iterdir())) == 3
    assert f'src="{THUMBNAILS}/2.jpg"' in html and "data:image/jpeg" not in html


def test_report_of_a_run_that_found_something_nothing_and_failed(tmp_path):
    files = [ImageFile(tmp_path / f"{name}.tif", Path(f"{name}.tif")) for name in "abc"]
    planned = plan_images(files, tmp_path / "out", ["csv"])
    records = Records(tmp_path / "out", "key")
    cells = {"x": {"area": [10, 20], "score": [0.5, 0.9], "intensity": [100.0, None]}}
    noisy(planned[0].picture, 60, 40)
    records.finish(planned[0], "", {"image": "a.tif", "cells": 2, "cells x": 2}, cells)
    records.finish(planned[1], "", {"image": "b.tif", "cells": 0, "cells x": 0})
    records.fail(planned[2], "c.tif: unreadable")
    model = {"path": "models/a.pth", "sha256": "", "licence": "research only"}
    information = {"models": [model], "settings": {"class_names": ["x", "y"]}}
    sum_up(tmp_path / "out", planned, records, information)
    html = write_run_report(tmp_path / "out", planned, records).read_text(encoding="utf-8")
    text = " ".join(re.sub("<[^>]*>", " ", html[html.index("<body") :]).split())
    assert "Cells of 2 images images 2 cells 2 models a.pth failed 1" in text
    assert "research only" in text and "c.tif: unreadable" in text
    assert html.count("data:image/svg+xml") == 3
    assert 'href="a.csv"' in html and 'href="summary.csv"' in html
    assert json.loads((tmp_path / "out" / "run.json").read_text())["models"][0] == model
