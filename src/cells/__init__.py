"""Cells in memory and in files: instances, masks, images, exports. No torch, no mmdet."""
