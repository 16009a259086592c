"""Channel names and pixel size from what microscope programs write into TIFFs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar
from xml.etree import ElementTree

from tifffile import TiffFile, TiffPageSeries

Found = TypeVar("Found", float, str)

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


def pixel_size(tif: TiffFile, series: TiffPageSeries) -> float | None:
    """Micrometres per pixel as OME, ImageJ or Zeiss LSM metadata say.

    A bare resolution tag does not count: programs fill it with 72 dots an inch. None also for
    pixels that are not square.

    Args:
        tif: the file.
        series: the image of the file that is meant.
    """
    if tif.is_ome:
        sizes = _alike([_ome_sizes(pixels) for pixels in _ome_pixels(tif, series)]) or [0.0, 0.0]
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


def channel_names(tif: TiffFile, series: TiffPageSeries, count: int) -> tuple[str, ...]:
    """Names of `count` channels, where the file has one for each; empty otherwise.

    Args:
        tif: the file.
        series: the image of the file that is meant.
        count: its channels.
    """
    names: list[str] = []
    if tif.is_ome:
        names = _alike([_ome_names(pixels) for pixels in _ome_pixels(tif, series)]) or []
    elif tif.is_imagej:
        labels = (tif.imagej_metadata or {}).get("Labels") or []
        names = [str(label) for label in labels]
    names = [name.strip() for name in names]
    return tuple(names) if len(names) == count > 1 and all(names) else ()


def own_part_of_set(tif: TiffFile) -> str | None:
    """Of the OME metadata that the files of a set share, the images that are in this file.

    None for a file that belongs to no set, or holds a part of an image: then only its pages are
    known, not their axes.
    """
    root = _ome_root(tif)
    if root is None:
        return None
    images = [element for element in root if element.tag.endswith("}Image")]
    files = [{e.text for e in image.iter() if e.tag.endswith("}UUID")} for image in images]
    own = [image for image, named in zip(images, files, strict=True) if named == {root.get("UUID")}]
    if not own or len(own) == len(images):
        return None
    for image in images:
        if image not in own:
            root.remove(image)
    return ElementTree.tostring(root, encoding="unicode")


def _ome_root(tif: TiffFile) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(tif.ome_metadata or "")
    except ElementTree.ParseError:
        return None


def _ome_pixels(tif: TiffFile, series: TiffPageSeries) -> list[ElementTree.Element]:
    """The element `Pixels` of the image, or of all images where it is not known which one it is.

    It is not known where the metadata tell of images in other files.
    """
    root = _ome_root(tif)
    if root is None:
        return []
    elements = [element for element in root.iter() if element.tag.endswith("}Pixels")]
    if len(elements) == len(tif.series):
        return [e for e, one in zip(elements, tif.series, strict=True) if one is series]
    return elements


def _alike(found: Sequence[list[Found]]) -> list[Found] | None:
    """What is found for every image, where it is the same for all."""
    return found[0] if found and all(one == found[0] for one in found) else None


def _ome_names(pixels: ElementTree.Element) -> list[str]:
    return [element.get("Name", "") for element in pixels if element.tag.endswith("}Channel")]


def _ome_sizes(pixels: ElementTree.Element) -> list[float]:
    return [
        micrometres(
            pixels.get(f"PhysicalSize{axis}", ""), pixels.get(f"PhysicalSize{axis}Unit", "µm")
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
