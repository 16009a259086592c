"""The page in a real browser without a window: nothing on its console, it sorts and enlarges."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from reports.charts import Chart
from reports.page import Page, ReportImage, write_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), "")

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")

# Runs in the page; what it finds is read from the attribute `data-seen`.
PROBE = """
<script>
addEventListener("load", async () => {
  const seen = {};
  const column = (n) => [...document.querySelectorAll("tbody tr")].map(
    (row) => row.cells[n].firstChild ? row.cells[n].firstChild.textContent.trim() : "");
  const click = (n) => document.querySelectorAll("th")[n].querySelector("button").click();
  click(2); seen.ascending = column(2);
  click(2); seen.descending = column(2); seen.names = column(1);
  click(1); seen.natural = column(1);
  const large = document.querySelector("dialog img");
  const loaded = () => new Promise((done) => { large.addEventListener("load", done); });
  let wait = loaded();
  document.querySelectorAll(".thumbnail")[0].click();
  await wait;
  seen.open = document.querySelector("dialog").open;
  seen.enlarged = [large.naturalWidth, large.naturalHeight];
  wait = loaded();
  document.querySelector("dialog").dispatchEvent(
    new KeyboardEvent("keydown", { key: "ArrowRight" }));
  await wait;
  seen.next = [large.naturalWidth, large.naturalHeight];
  seen.thumbnails = [...document.querySelectorAll(".thumbnail img, .charts img")].map(
    (image) => image.naturalWidth > 0);
  document.body.dataset.seen = encodeURIComponent(JSON.stringify(seen));
});
</script>
"""


@pytest.fixture
def page(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    images = []
    for i, (name, cells) in enumerate([("a10.png", 9), ("a9.png", 100), ("b.png", None)]):
        picture = tmp_path / f"picture {i}.png"
        cv2.imwrite(str(picture), rng.integers(0, 255, (600 + i, 800 + i, 3), np.uint8))
        images.append(ReportImage(name, picture, {"cells": cells}))
    chart = Chart("Size", "pixels", {"x": rng.normal(100, 9, 500)})
    write_page(
        tmp_path / "report.html", Page("Cells", {}, {"x": 109}, [chart], images, {}, {"a": 1})
    )
    return tmp_path / "report.html"


def open_page(path: Path, profile: Path) -> tuple[str, str]:
    """The document after its scripts have run, and what the browser printed."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    more = (f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom")
    done = subprocess.run(
        [BROWSER, *options, *more, path.as_uri()], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_sorts_enlarges_and_logs_no_error(page, tmp_path):
    page.write_text(page.read_text("utf-8").replace("</body>", f"{PROBE}</body>"), "utf-8")
    document, log = open_page(page, tmp_path / "profile")
    assert "CONSOLE" not in log
    found = re.search('data-seen="([^"]*)"', document)
    assert found, log
    seen = json.loads(unquote(found[1]))
    assert seen["ascending"] == ["9", "100", ""]  # as numbers; nothing comes last
    assert seen["descending"] == ["100", "9", ""]
    assert seen["names"] == ["a9.png", "a10.png", "b.png"]
    assert seen["natural"] == ["a9.png", "a10.png", "b.png"]
    assert seen["open"] is True
    assert seen["enlarged"] == [801, 601]  # a9.png, first after sorting by name
    assert seen["next"] == [800, 600]
    assert seen["thumbnails"] == [True] * 4


def test_a_page_that_was_sent_alone_shows_its_thumbnails(page, tmp_path):
    for picture in tmp_path.glob("picture*.png"):
        picture.unlink()
    probe = PROBE.replace("seen.open", 'seen.alone = large.src.startsWith("data:"); seen.open')
    page.write_text(page.read_text("utf-8").replace("</body>", f"{probe}</body>"), "utf-8")
    document, _ = open_page(page, tmp_path / "profile")
    assert "%22alone%22%3Atrue" in document
