"""GeoJSON as QuPath exports it: detections, cells or annotations with a class."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from cells.imports.contents import Contents, ImportedCell
from cells.imports.polygons import fill
from cells.masks import Crop
from utils.files import read_json
from utils.script import InputError

REMEDY = "export GeoJSON (QuPath: File, Export objects as GeoJSON)"


def read_geojson(path: Path, image_size: tuple[int, int], classes: Collection[str]) -> Contents:
    """The polygons of a FeatureCollection, of a list of features or of one feature.

    Raises:
        InputError: no GeoJSON.
    """
    contents = Contents()
    for number, feature in enumerate(_features(path), start=1):
        try:
            cell = ImportedCell(_crop(feature, image_size), _class_name(feature))
        except (ValueError, TypeError, OverflowError) as error:  # numpy's, of ragged lists
            contents.problems.append(f"{path}: feature {number}: {error}")
        else:
            contents.cells.append(cell)
    return contents


def _features(path: Path) -> list[object]:
    content = read_json(path, str(path), REMEDY)
    if isinstance(content, dict):
        content = content.get("features") if "features" in content else [content]
    if not isinstance(content, list):
        raise InputError(f"{path}: holds no list of features; {REMEDY}")
    return content


def _crop(feature: object, image_size: tuple[int, int]) -> Crop:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict):
        raise ValueError("it has no geometry")
    pieces = geometry.get("coordinates")
    if geometry.get("type") == "Polygon":
        pieces = [pieces]
    elif geometry.get("type") != "MultiPolygon":
        raise ValueError(f"a {geometry.get('type')!r:.40} encloses no cell; draw a polygon")
    if not isinstance(pieces, list) or not all(isinstance(rings, list) for rings in pieces):
        raise ValueError("its coordinates are no rings of points")
    return fill([[_points(ring) for ring in rings] for rings in pieces], image_size)


def _points(ring: object) -> np.ndarray:
    """Points of a ring, float64 [N, 2]; further numbers of a point are its height."""
    points = np.array(ring, np.float64)
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError("its coordinates are no rings of points")
    return points[:, :2]


def _class_name(feature: object) -> str | None:
    """`name` of the classification, or the `names` of a derived class joined as QuPath does."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    classification = properties.get("classification") if isinstance(properties, dict) else None
    if not isinstance(classification, dict):
        return None
    names = classification.get("names")
    if isinstance(names, list) and names:
        return ": ".join(map(str, names))
    name = classification.get("name")
    return str(name) if name else None
