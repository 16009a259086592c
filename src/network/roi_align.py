"""RoIAlign on CPUs, on all cores and in any precision, as a weighted gather.

He et al. 2017, "Mask R-CNN"; aligned, and with one sampling point for each cell that a bin covers,
as in mmcv and Detectron2. Every output is a weighted sum of feature vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch.nn import functional as F


def is_supported(extractor: SingleRoIExtractor) -> bool:
    """Whether all levels pool squares by RoIAlign with adaptive sampling."""
    return all(
        isinstance(layer, RoIAlign)
        and layer.aligned
        and layer.pool_mode == "avg"
        and layer.sampling_ratio == 0
        and layer.output_size[0] == layer.output_size[1]
        for layer in extractor.roi_layers
    )


def extract(
    extractor: SingleRoIExtractor, maps: Sequence[torch.Tensor], rois: torch.Tensor
) -> torch.Tensor:
    """What mmdet's `extractor` answers, computed by `roi_align`.

    Args:
        extractor: chooses the level of each region and knows the levels' scales.
        maps: feature maps, each [N, C, H, W].
        rois: float32 [K, 5], index of the image and x1 y1 x2 y2 in network input pixels.

    Returns:
        [K, C, S, S] in channels_last layout, in the dtype of `maps`.
    """
    size = extractor.roi_layers[0].output_size[0]
    pooled = maps[0].new_empty(len(rois), size, size, maps[0].shape[1])
    levels = extractor.map_roi_levels(rois, len(maps))
    for level, (features, layer) in enumerate(zip(maps, extractor.roi_layers, strict=True)):
        index = (levels == level).nonzero()[:, 0]
        if len(index):
            roi_align(features, rois[index], layer.spatial_scale, pooled, index)
    return pooled.permute(0, 3, 1, 2)


def roi_align(
    features: torch.Tensor,
    rois: torch.Tensor,
    scale: float,
    pooled: torch.Tensor,
    index: torch.Tensor,
) -> None:
    """Pool regions of one feature map.

    Args:
        features: [N, C, H, W]; no copy is made where it lies channels_last.
        rois: float32 [K, 5], image and x1 y1 x2 y2 in network input pixels.
        scale: cells of the map per pixel.
        pooled: [M, S, S, C], to be filled at `index`, int64 [K].
    """
    size = pooled.shape[1]
    height, width = features.shape[2:]
    table = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    starts = rois[:, 1:3] * scale - 0.5
    sides = (rois[:, 3:5] - rois[:, 1:3]) * scale
    counts = torch.ceil(sides / size).clamp(min=0).int()  # sampling points in x and y of a bin
    for count in counts.unique(dim=0):
        group = (counts == count).all(dim=1).nonzero()[:, 0]
        if not count.all():
            pooled[index[group]] = 0  # a region without extent
            continue
        start, side = starts[group], sides[group]
        columns, x_weights = _neighbours(start[:, 0], side[:, 0], size, int(count[0]), width)
        rows, y_weights = _neighbours(start[:, 1], side[:, 1], size, int(count[1]), height)
        rows += rois[group, 0].int()[:, None, None] * height
        # [regions, bins in y, bins in x, neighbours in y, neighbours in x]
        cells = rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        sums = F.embedding_bag(
            cells.flatten(3).flatten(0, 2),
            table,
            mode="sum",
            per_sample_weights=weights.to(table.dtype).flatten(3).flatten(0, 2),
        )
        pooled[index[group]] = sums.view(-1, size, size, table.shape[1])


def _neighbours(
    start: torch.Tensor, side: torch.Tensor, bins: int, count: int, limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells to read along one axis, and their weights.

    Args:
        start, side: float32 [K], where the regions begin and how long they are, in cells.
        bins: of a region.
        count: sampling points of a bin.
        limit: cells of the map.

    Returns:
        int32 and float32 [K, bins, 2 * count]: both neighbours of each point. Points more than one
        cell outside of the map have weight 0, those less far outside read its border.
    """
    steps = (torch.arange(bins * count, dtype=torch.float32) + 0.5) / (bins * count)
    points = start[:, None] + steps * side[:, None]
    inside = (points >= -1) & (points <= limit)
    points = points.clamp(0, limit - 1)
    low = points.floor()
    upper = points - low
    lower = 1 - upper
    cells = torch.stack([low, (low + 1).clamp(max=limit - 1)], dim=-1).int()
    weights = torch.stack([lower, upper], dim=-1) * (inside / count)[..., None]
    return cells.view(-1, bins, 2 * count), weights.view(-1, bins, 2 * count)
