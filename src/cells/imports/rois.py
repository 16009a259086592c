"""ImageJ's ROIs: a zip as the ROI manager saves several, or one `.roi`."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import roifile

from cells.imports.contents import Contents, ImportedCell
from cells.imports.polygons import fill
from utils.script import InputError

AREAS = {
    *(roifile.ROI_TYPE.POLYGON, roifile.ROI_TYPE.FREEHAND, roifile.ROI_TYPE.TRACED),
    *(roifile.ROI_TYPE.RECT, roifile.ROI_TYPE.OVAL),
}
# number, class and score, as `infer_cis.py` names them; ImageJ adds -1 to a name that it has twice
WRITTEN_NAME = re.compile(r"\d+-(.+)-[01]\.\d\d(?:-\d+)?")


def read_rois(path: Path, image_size: tuple[int, int], classes: Collection[str]) -> Contents:
    """The areas of a ROI file; a composite ROI is one cell with pieces and holes.

    Args:
        path: `.zip` or `.roi`.
        image_size: (height, width) in pixels.
        classes: names that a ROI may be called by to say its class.

    Raises:
        InputError: not a file of ROIs.
    """
    try:
        # a zip without ROIs is an empty list for roifile, too
        rois = roifile.roiread(path)
    except Exception as error:  # zipfile, struct and roifile raise kinds of their own
        raise InputError(f"{path}: unreadable ROI file ({error}); save it again") from error
    contents = Contents()
    for number, roi in enumerate(rois if isinstance(rois, list) else [rois], start=1):
        try:
            crop = fill([_rings(roi)], image_size)
        except Exception as error:  # of roifile for damaged paths, too
            contents.problems.append(f"{path}: ROI {number} ({roi.name!r:.40}): {error}")
        else:
            contents.cells.append(ImportedCell(crop, class_of(roi.name, classes)))
    return contents


def _rings(roi: roifile.ImagejRoi) -> list[np.ndarray]:
    if roi.roitype not in AREAS:
        raise ValueError(f"a {roi.roitype.name.lower()} encloses no cell; draw an outline")
    return [np.asarray(ring) for ring in roi.coordinates(multi=True)]


def class_of(name: str, classes: Collection[str]) -> str | None:
    """The class in a ROI's name: `0012-astro-0.87`, or a known class alone, also as `astro-2`.

    Args:
        name: of the ROI.
        classes: known ones.

    Returns:
        The class, or None where the name says none.
    """
    written = WRITTEN_NAME.fullmatch(name or "")
    if written:
        return written[1]
    plain = re.sub(r"-\d+$", "", name or "")
    return next((known for known in (name, plain) if known in classes), None)
