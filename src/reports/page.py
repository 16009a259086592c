"""The page: everything but the large pictures is in the one HTML file."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports.charts import Chart, draw_chart, has_values
from reports.numbers import format_number
from reports.thumbnails import make_thumbnail
from runs.names import THUMBNAILS
from utils.files import atomic_path

MOST_EMBEDDED = 1000  # images; thumbnails of more lie beside the page
BUDGET = 13_000_000  # bytes of all embedded thumbnails; base64 makes 17 MB of them
LARGEST = 40_000  # bytes of one thumbnail
PALETTE = ("#1f6fb4", "#d9711a", "#2b8f3c", "#b23a48", "#7a5aa8", "#7d5a3c", "#c759a5", "#5d6770")


@dataclass(frozen=True)
class ReportImage:
    """One row of the table.

    Attributes:
        name: of the image.
        picture: what the thumbnail shows, and what it enlarges to.
        values: numbers or text by column.
        files: paths by what is written on the link.
        error: why there is nothing else.
    """

    name: str
    picture: Path | None = None
    values: Mapping[str, float | str | None] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        title: of the page.
        facts: short text by what it tells.
        classes: how many cells of each class.
        charts: distributions; empty ones are left out.
        images: rows of the table.
        files: paths of files of the whole run by what is written on the link.
        record: how the results were made; plain data.
    """

    title: str
    facts: Mapping[str, str]
    classes: Mapping[str, int]
    charts: Sequence[Chart]
    images: Sequence[ReportImage]
    files: Mapping[str, Path]
    record: Mapping[str, object]


def write_page(path: Path, page: Page) -> None:
    """Write the page; links are relative to its folder.

    Args:
        path: of the HTML file.
        page: its content. Text is escaped: names of files may hold anything.

    Raises:
        InputError: the folder cannot be written to.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    colors = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(page.classes)}
    columns = list(
        dict.fromkeys(
            column
            for image in page.images
            for column, value in image.values.items()
            if value is not None
        )
    )
    html = environment.get_template("report.html.j2").render(
        page=page,
        columns=columns,
        colors=colors,
        most=max([*page.classes.values(), 1]),
        charts=[_data("image/svg+xml", draw_chart(c, colors).encode()) for c in _drawn(page)],
        titles=[chart.title for chart in _drawn(page)],
        rows=_rows(path.parent, page.images),
        links={text: _link(file, path.parent) for text, file in page.files.items()},
        record=json.dumps(page.record, indent=2, ensure_ascii=False, default=str),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _drawn(page: Page) -> list[Chart]:
    return [chart for chart in page.charts if has_values(chart)]


def _rows(folder: Path, images: Sequence[ReportImage]) -> list[dict[str, object]]:
    """The images with their thumbnails as addresses, and links for paths."""
    beside = len(images) > MOST_EMBEDDED
    budget = LARGEST if beside else min(LARGEST, BUDGET // max(len(images), 1))

    def row(numbered: tuple[int, ReportImage]) -> dict[str, object]:
        number, image = numbered
        jpeg = make_thumbnail(image.picture, budget) if image.picture else None
        if jpeg is None:
            thumbnail = ""
        elif beside:
            target = folder / THUMBNAILS / f"{number}.jpg"
            with atomic_path(target) as temporary:
                temporary.write_bytes(jpeg)
            thumbnail = _link(target, folder)
        else:
            thumbnail = _data("image/jpeg", jpeg)
        return {
            "image": image,
            "thumbnail": thumbnail,
            "picture": _link(image.picture, folder) if image.picture else "",
            "links": {text: _link(file, folder) for text, file in image.files.items()},
        }

    with ThreadPoolExecutor() as pool:
        return list(pool.map(row, enumerate(images)))


def _link(path: Path, folder: Path) -> str:
    """Address of a file relative to the page's folder."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
