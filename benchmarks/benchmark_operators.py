"""Processor time of mmcv's operators on a CPU, whoever answers them here: torchvision or mmcv.

    python benchmarks/benchmark_operators.py

To compare, run it in turns in an environment as `install_libs.sh` makes it, and in one with a
compiled mmcv-full. All of these operators run on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from utils.options import at_least, script_parser
from utils.script import quiet_libraries


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--repeats", type=at_least(1), default=5, help="the median of these is printed"
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    quiet_libraries()
    from network.operators import EXTENSION  # before mmcv.ops

    import torch
    from measuring import median_seconds

    torch.set_num_threads(1)
    torch.manual_seed(0)
    origin = getattr(sys.modules[EXTENSION], "__file__", f"torchvision, torch {torch.__version__}")
    print(f"mmcv's operators come from {origin}")
    for name, function in operators().items():
        function()  # allocates
        print(f"{name:50} {1000 * median_seconds(function, args.repeats):8.1f} ms")


def operators() -> dict[str, Callable[[], object]]:
    """Calls of the size that one image gives rise to."""
    import torch
    from mmcv.ops import modulated_deform_conv2d, nms, roi_align

    from network.deformable import PortableDCNv2

    corners = torch.rand(4000, 2) * 700
    boxes, scores = (
        torch.cat([corners, corners + 4 + 40 * torch.rand(4000, 2)], 1),
        torch.rand(4000),
    )
    maps = torch.randn(4, 128, 128, 128, requires_grad=True)
    corners = torch.rand(1024, 2) * 450
    regions = [torch.arange(1024)[:, None] % 4, corners, corners + 4 + 60 * torch.rand(1024, 2)]
    rois = torch.cat(regions, dim=1)
    x, offset, mask, weight = (
        torch.rand(size, requires_grad=True)
        for size in ((1, 64, 64, 64), (1, 18, 64, 64), (1, 9, 64, 64), (64, 64, 3, 3))
    )
    layer = PortableDCNv2(64, 64, 3, padding=1)

    def pool() -> torch.Tensor:
        return roi_align(maps, rois, (7, 7), 0.25, 0, "avg", True)

    def convolve() -> torch.Tensor:
        return modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)

    return {
        "NMS, 4,000 boxes": lambda: nms(boxes, scores, 0.7),
        "RoIAlign, 1,024 regions, 128 channels": pool,
        "RoIAlign, forward and backward": lambda: pool().sum().backward(),
        "deformable convolution, 64 channels, 64 x 64": convolve,
        "deformable convolution, forward and backward": lambda: convolve().sum().backward(),
        "the project's layer, forward and backward": lambda: layer(x).sum().backward(),
    }


if __name__ == "__main__":
    main(parse_args())
