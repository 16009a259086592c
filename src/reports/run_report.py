"""The page of a run of infer_cis.py, from its records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.charts import Chart
from reports.page import Page, ReportImage, write_page
from runs.names import REPORT, RUN, SUBMISSION, SUMMARY
from runs.plan import PlannedImage
from runs.records import Records

MEASURES = {
    "area": ("Size", "area (pixels)"),
    "score": ("Score", "score"),
    "intensity": ("Intensity", "mean value of the cell's pixels"),
}


def write_run_report(out_dir: Path, planned: Sequence[PlannedImage], records: Records) -> Path:
    """Write `report.html` of what is finished and what has failed so far; run.json is there.

    Args:
        out_dir: folder of the run.
        planned: all images of the run.
        records: of the run.

    Returns:
        Where the page is.

    Raises:
        InputError: it cannot be written.
    """
    found = [(image, records.read(image.name)) for image in planned]
    done = [record for _, record in found if records.counts(record)]
    images = [
        _row(image, record, failed=records.tells_failure(record))
        for image, record in found
        if records.counts(record) or records.tells_failure(record)
    ]
    run = json.loads((out_dir / RUN).read_text(encoding="utf-8"))
    names = run["settings"]["class_names"]
    page = Page(
        title=f"Cells of {len(done)} image{'' if len(done) == 1 else 's'}",
        facts=_facts(done, images, run["models"]),
        classes={name: sum(r["row"].get(f"cells {name}", 0) for r in done) for name in names},
        charts=[
            Chart(title, unit, {name: _values(done, name, kind) for name in names})
            for kind, (title, unit) in MEASURES.items()
        ],
        images=images,
        files={
            name: out_dir / name
            for name in (SUMMARY, SUBMISSION, RUN)
            if (out_dir / name).is_file()
        },
        record=run,
    )
    write_page(out_dir / REPORT, page)
    return out_dir / REPORT


def _row(image: PlannedImage, record: Mapping, failed: bool) -> ReportImage:
    if failed:
        return ReportImage(image.file_name, error=str(record["error"]))
    values = {name: value for name, value in record["row"].items() if name != "image"}
    return ReportImage(image.file_name, image.picture, values, image.files)


def _facts(
    done: Sequence[Mapping], images: Sequence[ReportImage], models: Sequence[Mapping]
) -> dict[str, str]:
    licences = list(dict.fromkeys(model["licence"] for model in models if model["licence"]))
    facts = {
        "images": str(len(done)),
        "cells": str(sum(record["row"].get("cells", 0) for record in done)),
        "models": ", ".join(Path(model["path"]).name for model in models),
    }
    failed = sum(bool(image.error) for image in images)
    if failed:
        facts["failed"] = str(failed)
    if licences:
        facts["licence of the models"] = "; ".join(licences)
    return facts


def _values(done: Sequence[Mapping], name: str, kind: str) -> list[float]:
    """One measure of the sampled cells of a class in all images."""
    lists = [record.get("cells", {}).get(name, {}).get(kind, []) for record in done]
    return [value for values in lists for value in values if value is not None]
