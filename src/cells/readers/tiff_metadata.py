"""Channel names and pixel size from what microscope programs write into TIFFs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.etree import ElementTree

from tifffile import TiffFile

# Micrometres of a unit, by the names that ImageJ, OME and OME-Zarr use.
MICROMETRES = {
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "m": 1e6,
}


def pixel_size(tif: TiffFile) -> float | None:
    """Micrometres per pixel as OME, ImageJ or Zeiss LSM metadata say.

    A bare resolution tag does not count: programs fill it with 72 dots an inch. None also for
    pixels that are not square.
    """
    if tif.is_ome:
        sizes = _ome_sizes(_ome_pixels(tif))
    elif tif.is_imagej:
        sizes = _imagej_sizes(tif)
    elif tif.is_lsm:
        found = tif.lsm_metadata or {}
        sizes = [1e6 * float(found.get(f"VoxelSize{axis}", 0)) for axis in "XY"]
    else:
        return None
    return square(*sizes)


def square(x: float, y: float) -> float | None:
    """The mean of two sides of a pixel, or None where they are not known or differ by over 1 %."""
    known = all(math.isfinite(side) and side > 0 for side in (x, y))
    return math.sqrt(x * y) if known and abs(x - y) <= 0.01 * x else None


def channel_names(tif: TiffFile, count: int) -> tuple[str, ...]:
    """Names of `count` channels, where the file has one for each; empty otherwise."""
    names: list[str] = []
    if tif.is_ome:
        pixels = _ome_pixels(tif)
        channels = [] if pixels is None else [e for e in pixels if e.tag.endswith("}Channel")]
        names = [channel.get("Name", "") for channel in channels]
    elif tif.is_imagej:
        labels = (tif.imagej_metadata or {}).get("Labels") or []
        names = [str(label) for label in labels]
    names = [name.strip() for name in names]
    return tuple(names) if len(names) == count > 1 and all(names) else ()


def _ome_pixels(tif: TiffFile) -> ElementTree.Element | None:
    """The element `Pixels` of the first image."""
    try:
        root = ElementTree.fromstring(tif.ome_metadata or "")
    except ElementTree.ParseError:
        return None
    return next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)


def _ome_sizes(pixels: ElementTree.Element | None) -> list[float]:
    attributes: Mapping[str, str] = {} if pixels is None else pixels.attrib
    return [
        micrometres(
            attributes.get(f"PhysicalSize{axis}", ""),
            attributes.get(f"PhysicalSize{axis}Unit", "µm"),
        )
        for axis in "XY"
    ]


def _imagej_sizes(tif: TiffFile) -> list[float]:
    """ImageJ stores pixels per unit in the resolution tags and names the unit apart."""
    unit = str((tif.imagej_metadata or {}).get("unit", ""))
    tags = tif.pages.first.tags
    sizes = []
    for name in ("XResolution", "YResolution"):
        pixels, units = tags[name].value if name in tags else (0, 1)
        sizes.append(micrometres(units / pixels if pixels else 0, unit))
    return sizes


def micrometres(value: float | str, unit: str) -> float:
    """A length; 0 where it is not a number or the unit is unknown."""
    name = unit.replace("\\u00B5", "µ").replace("μ", "µ").strip().lower()
    try:
        return float(value) * MICROMETRES.get(name, 0.0)
    except (TypeError, ValueError):
        return 0.0
