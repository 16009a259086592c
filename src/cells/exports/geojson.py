"""GeoJSON as QuPath reads it: a detection for each cell, with its class and its measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cells.drawing import distinct_colors
from cells.exports.segmented import SegmentedImage
from cells.exports.table import measure
from cells.outlines import pixel_outlines, to_polygons
from utils.files import atomic_path


def write_geojson(path: Path, segmented: SegmentedImage) -> None:
    """A FeatureCollection of detections in pixels, written cell by cell.

    Outlines follow the edges of pixels; a cell in pieces is a MultiPolygon. Where cells overlap,
    the better one has the pixels, as in the label image.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for i, feature in enumerate(_features(segmented)):
            file.write(",\n" if i else "\n")
            file.write(json.dumps(feature))
        file.write("\n]}\n")


def _features(segmented: SegmentedImage) -> Iterator[dict]:
    instances, names = segmented.instances, segmented.class_names
    colors = [[red, green, blue] for blue, green, red in distinct_colors(len(names))]
    crops = segmented.visible
    for row in measure(segmented):
        i = row["label"] - 1
        numbers = {name: v for name, v in row.items() if not isinstance(v, str)}
        del numbers["label"]
        yield {
            "type": "Feature",
            "geometry": _geometry(crops[i], instances.offsets[i]),
            "properties": {
                "objectType": "detection",
                "name": str(row["label"]),
                "classification": {
                    "name": row["class"],
                    "color": colors[instances.labels[i]],
                },
                "measurements": numbers,
            },
        }


def _geometry(crop: np.ndarray, offset: np.ndarray) -> dict:
    pieces = [
        [_closed(ring + offset) for ring in piece] for piece in to_polygons(pixel_outlines(crop))
    ]
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _closed(ring: np.ndarray) -> list[list[int]]:
    """Points as GeoJSON has them: the first one is repeated at the end."""
    return [*ring.tolist(), ring[0].tolist()]
