"""The operators that mmcv-full would have compiled, answered by torchvision.

mmcv-full, installed without a compiler, is a pure Python package whose `mmcv.ops` look for a module
`mmcv._ext`. Importing this module puts one in place where no compiled one is installed, so import
it before anything of mmcv.ops or mmdet. NMS, RoIAlign and modulated deformable convolution, forward
and backward, come from torchvision on CPU and CUDA; every other operator raises an error that says
so when it is called.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import torch
from torchvision.ops import nms

TORCHVISION = torch.ops.torchvision
AVERAGE = 1  # `pool_mode` of mmcv's RoIAlign; 0 is the maximum, which torchvision lacks


def _nms(
    bboxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Indices of the boxes that stay, best first; `offset` 1 counts pixels inclusively."""
    boxes = bboxes.float()
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return nms(boxes, scores.float(), iou_threshold)


def _roi_align_forward(
    features: torch.Tensor,
    rois: torch.Tensor,
    output: torch.Tensor,
    _argmax_y: torch.Tensor,
    _argmax_x: torch.Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    if pool_mode != AVERAGE:
        raise NotImplementedError("RoIAlign of the maximum needs a compiled mmcv-full")
    size = aligned_height, aligned_width
    output.copy_(
        TORCHVISION.roi_align(features, rois, spatial_scale, *size, sampling_ratio, aligned)
    )


def _roi_align_backward(
    grad_output: torch.Tensor,
    rois: torch.Tensor,
    _argmax_y: torch.Tensor,
    _argmax_x: torch.Tensor,
    grad_input: torch.Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    size = aligned_height, aligned_width
    grad_input.copy_(
        TORCHVISION._roi_align_backward(
            grad_output, rois, spatial_scale, *size, *grad_input.shape, sampling_ratio, aligned
        )
    )


def _convolution_shape(options: dict[str, int]) -> tuple[int, ...]:
    """mmcv's keyword arguments in the order of torchvision's."""
    pairs = [options[f"{name}_{axis}"] for name in ("stride", "pad", "dilation") for axis in "hw"]
    return (*pairs, options["group"], options["deformable_group"])


def _modulated_deform_conv_forward(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    _ones: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    output: torch.Tensor,
    _columns: torch.Tensor,
    *,
    with_bias: bool,
    **options: int,
) -> None:
    bias = bias if with_bias else bias.new_zeros(len(weight))
    shape = _convolution_shape(options)
    output.copy_(TORCHVISION.deform_conv2d(features, weight, offset, mask, bias, *shape, True))


def _modulated_deform_conv_backward(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    _ones: torch.Tensor,
    offset: torch.Tensor,
    mask: torch.Tensor,
    _columns: torch.Tensor,
    grad_features: torch.Tensor,
    grad_weight: torch.Tensor,
    grad_bias: torch.Tensor,
    grad_offset: torch.Tensor,
    grad_mask: torch.Tensor,
    grad_output: torch.Tensor,
    *,
    with_bias: bool,
    **options: int,
) -> None:
    usual_bias = bias if with_bias else bias.new_zeros(len(weight))
    shape = _convolution_shape(options)
    gradients = TORCHVISION._deform_conv2d_backward(
        grad_output, features, weight, offset, mask, usual_bias, *shape, True
    )
    for target, gradient in zip(
        (grad_features, grad_weight, grad_offset, grad_mask), gradients[:4], strict=True
    ):
        target.copy_(gradient)
    if with_bias:
        grad_bias.copy_(gradients[4])


class _Operators(ModuleType):
    """A module that holds what torchvision answers, and for all else a function that says so."""

    nms = staticmethod(_nms)
    roi_align_forward = staticmethod(_roi_align_forward)
    roi_align_backward = staticmethod(_roi_align_backward)
    modulated_deform_conv_forward = staticmethod(_modulated_deform_conv_forward)
    modulated_deform_conv_backward = staticmethod(_modulated_deform_conv_backward)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_args: object, **_kwargs: object) -> None:
            raise NotImplementedError(
                f"the operator mmcv._ext.{name} needs a compiled mmcv-full, "
                "which install_libs.sh does not install"
            )

        return absent


if importlib.util.find_spec("mmcv._ext") is None:
    sys.modules["mmcv._ext"] = _Operators("mmcv._ext")
