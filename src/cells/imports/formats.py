"""What files with cells are called; no heavy imports, so that `--help` answers at once.

The first ending of each format is what `infer_cis.py --save` writes.
"""

from __future__ import annotations

ENDINGS = {
    "labels": (
        *("_labels.tif", "_labels.tiff", "_labels.png", "_labels.npy"),
        *("_cp_masks.png", "_cp_masks.tif"),  # as Cellpose calls them
    ),
    "masks": ("_masks.png", "_masks.tif", "_masks.tiff"),
    "rois": ("_rois.zip", "_rois.roi", ".zip", ".roi"),
    "geojson": (".geojson",),
    "coco": ("_coco.json", ".json"),
}
# Label images that are called as their image is; a picture beside other files is none of them.
BARE_LABELS = (".tif", ".tiff", ".png", ".npy")
