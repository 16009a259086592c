"""Which operators the slowest stage, backbone and neck, spends its time in; on the CPU.

    python benchmarks/profile_backbone.py
    python benchmarks/profile_backbone.py --config configs/cascade_mask_rcnn_resnest200_dcn.py

Prints a Markdown table of the operators' own milliseconds for one image, three ways: mmdet's model
in float32 as it comes, the project's in bfloat16 with mmdet's split attention and with freed memory
given back to the system, and the project's. The first command takes a minute on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from cases import BACKBONE_WAYS, operator_seconds, prepare_files
from measuring import in_own_process
from tables import markdown, milliseconds

from utils.options import at_least, script_parser
from utils.script import run_script

ROOT = Path(__file__).resolve().parents[1]
SIZE = (704, 520)


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--config", type=Path, default=ROOT / "configs" / "mask_rcnn_resnest200.py")
    add("--operators", type=at_least(1), default=8, help="lines of the table (default: 8)")
    add("--threads", type=at_least(1), help="cores to use (default: all)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene = in_own_process(prepare_files, Path(folder), [SIZE], {"model": args.config})[SIZE]
        path = str(Path(folder) / "model_1.pth")
        ways = [
            in_own_process(operator_seconds, path, scene, way, args.threads)
            for way in BACKBONE_WAYS
        ]
    names = {name for way in ways for name in way}
    ordered = sorted(names, key=lambda name: -max(way.get(name, 0) for way in ways))
    shown = ordered[: args.operators]
    rows = [(name, *(milliseconds(way.get(name)) for way in ways)) for name in shown]
    others = [sum(way.get(name, 0) for name in ordered[args.operators :]) for way in ways]
    rows.append(("others", *map(milliseconds, others)))
    rows.append(("total", *(milliseconds(sum(way.values())) for way in ways)))
    print(markdown(("operator", *BACKBONE_WAYS), rows))


if __name__ == "__main__":
    run_script(main, parse_args())
