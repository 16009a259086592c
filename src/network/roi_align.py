"""RoIAlign on CPUs, on all cores and in any precision, as a weighted gather.

He et al. 2017, "Mask R-CNN"; aligned, and with one sampling point for each cell that a bin covers,
as in mmcv and Detectron2. Every output is a weighted sum of feature vectors, so that the gradient
of a feature vector is the weighted sum of the gradients of the outputs that read it: the same
gather with its table of cells inverted. torchvision scatters on one core instead, which takes
a tenth of a training step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import network.operators  # noqa: F401  (before mmdet)

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch.nn import functional as F


class Gather(NamedTuple):
    """What some regions read from one feature map.

    Attributes:
        index: int64 [K], which regions.
        cells: int32 [K, S, S, P], the P cells of the map that each bin reads, by row of the table
            of all cells of all images.
        weights: float32 [K, S, S, P].
    """

    index: torch.Tensor
    cells: torch.Tensor
    weights: torch.Tensor


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
    """What mmdet's `extractor` answers, differentiable in `maps`.

    Args:
        extractor: chooses the level of each region and knows the levels' scales.
        maps: feature maps, each [N, C, H, W]; no copy is made where they lie channels_last. Those
            beyond the extractor's levels are not read.
        rois: float32 [K, 5], index of the image and x1 y1 x2 y2 in network input pixels.

    Returns:
        [K, C, S, S] in channels_last layout, in the dtype of `maps`.
    """
    maps = maps[: extractor.num_inputs]
    size = extractor.roi_layers[0].output_size[0]
    scales = [layer.spatial_scale for layer in extractor.roi_layers]
    levels = extractor.map_roi_levels(rois, len(maps))
    return _RoIAlign.apply(rois, levels, scales, size, *maps)


class _RoIAlign(torch.autograd.Function):
    """Pools each region from the feature map of its level."""

    @staticmethod
    def forward(ctx, rois, levels, scales, size, *maps):
        channels = maps[0].shape[1]
        pooled = maps[0].new_zeros(len(rois), size, size, channels)
        ctx.gathers = [[] for _ in maps]
        ctx.shapes = [features.shape for features in maps]
        for level, (features, scale) in enumerate(zip(maps, scales, strict=True)):
            table = features.permute(0, 2, 3, 1).reshape(-1, channels)
            index = (levels == level).nonzero()[:, 0]
            for gather in _gathers(rois, index, scale, size, features.shape[2:]):
                sums = F.embedding_bag(
                    gather.cells.flatten(0, 2),
                    table,
                    mode="sum",
                    per_sample_weights=gather.weights.to(table.dtype).flatten(0, 2),
                )
                pooled[gather.index] = sums.view(-1, size, size, channels)
                if features.requires_grad:
                    ctx.gathers[level].append(gather)
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad):
        rows = grad.permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
        gradients = []
        for gathers, (images, channels, height, width) in zip(ctx.gathers, ctx.shapes, strict=True):
            summed = _scatter(gathers, rows, images * height * width)
            gradients.append(summed.view(images, height, width, channels).permute(0, 3, 1, 2))
        return None, None, None, None, *gradients


def _gathers(
    rois: torch.Tensor, index: torch.Tensor, scale: float, size: int, shape: tuple[int, int]
) -> Iterator[Gather]:
    """What the regions at `index` read from a map of `shape`, by their number of sampling points.

    Args:
        rois: float32 [K, 5], image and x1 y1 x2 y2 in network input pixels.
        index: int64, regions of this map.
        scale: cells of the map per pixel.
        size: bins on a side of a region.
        shape: (height, width) of the map in cells.
    """
    height, width = shape
    starts = rois[:, 1:3] * scale - 0.5
    sides = (rois[:, 3:5] - rois[:, 1:3]) * scale
    counts = torch.ceil(sides[index] / size).clamp(min=0).int()  # points in x and y of a bin
    for count in counts.unique(dim=0):
        if not count.all():  # a region without extent reads nothing
            continue
        group = index[(counts == count).all(dim=1)]
        start, side = starts[group], sides[group]
        columns, x_weights = _neighbours(start[:, 0], side[:, 0], size, int(count[0]), width)
        rows, y_weights = _neighbours(start[:, 1], side[:, 1], size, int(count[1]), height)
        rows += rois[group, 0].int()[:, None, None] * height
        # [regions, bins in y, bins in x, neighbours in y, neighbours in x]
        cells = rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        yield Gather(group, cells.flatten(3), weights.flatten(3))


def _neighbours(
    start: torch.Tensor, side: torch.Tensor, bins: int, count: int, limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells to read along one axis, and their weights.

    Args:
        start, side: float32 [K], where the regions begin and how long they are, in cells.
        bins: of a region.
        count: sampling points of a bin, at least 1.
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


def _scatter(gathers: Sequence[Gather], rows: torch.Tensor, cells: int) -> torch.Tensor:
    """For each cell of a map the weighted sum of the rows of the bins that read it.

    Args:
        gathers: of this map.
        rows: [K * S * S, C], gradients of the bins of all regions.
        cells: number of cells of the map.

    Returns:
        [cells, C] in the dtype of `rows`.
    """
    if not gathers:
        return rows.new_zeros(cells, rows.shape[1])
    readers, read, weights = [], [], []
    for gather in gathers:
        bins = gather.cells.shape[1] * gather.cells.shape[2]
        reader = gather.index[:, None] * bins + torch.arange(bins)
        readers.append(reader.view(*gather.cells.shape[:3], 1).expand_as(gather.cells).flatten())
        read.append(gather.cells.flatten())
        weights.append(gather.weights.flatten())
    read = torch.cat(read)
    order = read.argsort(stable=True)
    ends = torch.bincount(read, minlength=cells).cumsum(0)
    return F.embedding_bag(
        torch.cat(readers)[order],
        rows,
        F.pad(ends[:-1], (1, 0)),
        mode="sum",
        per_sample_weights=torch.cat(weights)[order].to(rows.dtype),
    )
