"""The operators that mmcv-full would have compiled, answered by torchvision.

mmcv-full, installed without a compiler, is a pure Python package whose `mmcv.ops` look for a module
`mmcv._ext`. Importing this module puts one in place where no compiled one can be loaded, so import
it before mmcv.ops and mmdet. NMS, RoIAlign and modulated deformable convolution, forward
and backward, come from torchvision on CPU and CUDA; every other operator raises an error that says
so when it is called. A compiled mmcv-full is used as it is.

Names, argument order and keywords of the functions below are those that `mmcv.ops` calls.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
import torchvision

EXTENSION = "mmcv._ext"
TORCHVISION = torch.ops.torchvision
AVERAGE = 1  # `pool_mode` of mmcv's RoIAlign; 0 is the maximum, which torchvision lacks


def _at_least_float32(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The tensors in float32, or float64 where the first one is: what all devices compute in."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def _nms(
    bboxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Indices of the boxes that stay, best first; `offset` 1 counts pixels inclusively."""
    boxes = bboxes.float()
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torchvision.ops.nms(boxes, scores.float(), iou_threshold)


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
    """Fill `output` [K, C, h, w] from `features` [N, C, H, W] at `rois` [K, 5]."""
    if pool_mode != AVERAGE:
        raise NotImplementedError("RoIAlign by the maximum needs a compiled mmcv-full")
    size = aligned_height, aligned_width
    features, rois = _at_least_float32(features, rois)
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
    """Fill `grad_input` [N, C, H, W] from `grad_output` [K, C, h, w]."""
    size = aligned_height, aligned_width
    grad_output, rois = _at_least_float32(grad_output, rois)
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
    """Fill `output` [N, O, h, w]; `bias` is empty where there is none."""
    bias = bias if with_bias else bias.new_zeros(len(weight))
    inputs = _at_least_float32(features, weight, offset, mask, bias)
    output.copy_(TORCHVISION.deform_conv2d(*inputs, *_convolution_shape(options), True))


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
    """Fill the five gradients, each as large as what it belongs to."""
    usual_bias = bias if with_bias else bias.new_zeros(len(weight))
    inputs = _at_least_float32(grad_output, features, weight, offset, mask, usual_bias)
    gradients = TORCHVISION._deform_conv2d_backward(*inputs, *_convolution_shape(options), True)
    targets = [grad_features, grad_weight, grad_offset, grad_mask]
    for target, gradient in zip(targets, gradients[:4], strict=True):
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

    def __init__(self) -> None:
        super().__init__(EXTENSION)
        # mmcv asks for a loader of its extension to see whether there are operators
        self.__spec__ = ModuleSpec(EXTENSION, __spec__.loader, origin=__file__)

    def get_compiler_version(self) -> str:
        """What mmcv records as its compiler."""
        return f"none; torchvision {torchvision.__version__}"

    def get_compiling_cuda_version(self) -> str:
        """What mmcv records as the CUDA version of its operators."""
        return torch.version.cuda or "not available"

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_args: object, **_kwargs: object) -> None:
            raise NotImplementedError(
                f"the operator mmcv._ext.{name} needs a compiled mmcv-full, "
                "which install_libs.sh does not install"
            )

        return absent


def put_in_place() -> None:
    """Answer `mmcv._ext` by torchvision unless a compiled one can be loaded.

    One that was compiled against another torch cannot: its symbols are missing.
    """
    try:
        importlib.import_module(EXTENSION)
    except ImportError:
        sys.modules[EXTENSION] = _Operators()


put_in_place()
