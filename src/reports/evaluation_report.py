"""The page of an evaluation, from the files that it wrote."""

from __future__ import annotations

import csv
import glob
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.charts import Chart
from reports.page import Page, ReportImage, write_page
from runs.names import REPORT

TABLE = "competition metric"
TEXT = ("image", "cell_type")  # columns that hold no numbers


def write_evaluation_report(out_dir: Path, show_dir: Path) -> Path:
    """Write `report.html`: the images with found, false and missed cells, worst first.

    Args:
        out_dir: with evaluation.json and per_image.csv; the page goes there.
        show_dir: with the pictures of the same evaluation.

    Returns:
        Where the page is.

    Raises:
        InputError: it cannot be written.
    """
    evaluation = json.loads((out_dir / "evaluation.json").read_text(encoding="utf-8"))
    with open(out_dir / "per_image.csv", encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: float(row["AP"] or 0))
    table = evaluation["tables"][TABLE]
    types = [name for name in table if name != "all"]
    names = types or ["all"]
    page = Page(
        title=f"Evaluation of {len(rows)} image{'' if len(rows) == 1 else 's'}",
        facts=_facts(table, types),
        classes={name: int(table[name]["cells"] or 0) for name in names},
        charts=[Chart("Score", "AP of the image", _scores(rows, names), counted="images")],
        images=[_row(row, show_dir) for row in rows],
        files={name: out_dir / name for name in ("evaluation.json", "per_image.csv")},
        record=evaluation,
    )
    write_page(out_dir / REPORT, page)
    return out_dir / REPORT


def _facts(table: Mapping[str, Mapping], types: Sequence[str]) -> dict[str, str]:
    rows = [("mAP", "all"), *((f"mAP {name}", name) for name in types)]
    scores = {text: table[name]["mAP"] for text, name in rows}
    facts = {text: "-" if score is None else f"{score:.4f}" for text, score in scores.items()}
    return {"images": str(table["all"]["images"]), "cells": str(table["all"]["cells"]), **facts}


def _scores(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> dict[str, list[float]]:
    """AP of the images by the type of their cells."""
    scores: dict[str, list[float]] = {name: [] for name in names}
    for row in rows:
        if row["AP"]:
            scores.setdefault(row["cell_type"] or names[0], []).append(float(row["AP"]))
    return {name: scores[name] for name in names}


def _row(row: Mapping[str, str], show_dir: Path) -> ReportImage:
    name = re.sub(r"[^\w.-]", "_", row["image"])  # as `write_error_picture` names it
    pictures = sorted(show_dir.glob(f"AP[01].[0-9][0-9][0-9][0-9]_{glob.escape(name)}.png"))
    values = {
        column: text if column in TEXT else _number(text)
        for column, text in row.items()
        if column != "image"
    }
    return ReportImage(row["image"], pictures[0] if pictures else None, values)


def _number(text: str) -> float | int | None:
    """None for what is missing."""
    if not text:
        return None
    return int(text) if text.lstrip("-").isdecimal() else float(text)
