"""ImageJ ROIs along the edges of pixels: a ROI measures the area that its label has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import roifile

from cells.exports.segmented import SegmentedImage
from cells.outlines import pixel_outlines
from utils.files import atomic_path

MOVE_TO, LINE_TO, CLOSE = 0.0, 1.0, 4.0  # of java.awt.geom.PathIterator


def write_rois(path: Path, segmented: SegmentedImage) -> None:
    """A zip of ROIs, one for each cell of the label image, named by number, class and score."""
    instances, names = segmented.instances, segmented.class_names
    rois = []
    for i, crop in enumerate(segmented.visible):
        if crop.any():
            name = f"{i + 1:04d}-{names[instances.labels[i]]}-{instances.scores[i]:.2f}"
            rings = [ring + instances.offsets[i] for ring in pixel_outlines(crop)]
            rois.append(_roi(rings, name))
    with atomic_path(path) as temporary:
        roifile.roiwrite(temporary, rois, mode="w")


def _roi(rings: list[np.ndarray], name: str) -> roifile.ImagejRoi:
    """One outline is a traced ROI; pieces and holes together are a composite one."""
    roi = roifile.ImagejRoi.frompoints(np.concatenate(rings), name=name)
    if len(rings) == 1:
        roi.roitype = roifile.ROI_TYPE.TRACED
        return roi
    roi.roitype = roifile.ROI_TYPE.RECT  # the bounding box; the path says what is inside
    roi.integer_coordinates, roi.n_coordinates = None, 0
    roi.right, roi.bottom = roi.right - 1, roi.bottom - 1
    roi.multi_coordinates = np.concatenate([_path(ring) for ring in rings])
    roi.shape_roi_size = len(roi.multi_coordinates)
    return roi


def _path(ring: np.ndarray) -> np.ndarray:
    """Segments of a closed path in ImageJ's form, float32 [3 N + 1]."""
    commands = np.full((len(ring), 1), LINE_TO)
    commands[0] = MOVE_TO
    return np.append(np.hstack([commands, ring]), CLOSE).astype(np.float32)
