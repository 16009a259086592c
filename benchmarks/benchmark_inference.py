"""Time and memory of inference, stage by stage, beside mmdet's own; on the CPU.

    python benchmarks/benchmark_inference.py
    python benchmarks/benchmark_inference.py --models bundled --sizes 704x520 --instances 500

On two cores the first takes an hour and a quarter, the second two minutes. Prints Markdown tables
and writes everything as JSON. Each figure is the median of several images, each case runs in a
process of its own, and the networks of all of them compute in full, on the same simulated image;
the number of instances is then set (see synthetic.py).

The project's "ensemble" of two models is compared with "two passes", the solution's way in float32
with full-frame masks, and "one model" with `mmdet.apis.inference_detector` (see baseline.py).
Times are from the image in memory to the final instances; reading, features of the second level,
CatBoost and drawing are listed beside. Memory is that of the whole process; of the libraries alone,
which is the same for all, a process is measured, too, and ratios are given with and without.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from cases import (
    BASELINE_OF,
    Case,
    backbone_gflop,
    backbone_runs,
    chosen_precision,
    frames_gigabytes,
    libraries_mb,
    measure,
    methods,
    prepare_files,
)
from measuring import in_own_process, machine_peak
from tables import after_networks_table, stage_table, summary_table

from utils.files import write_json
from utils.options import at_least, script_parser
from utils.paths import BUNDLED_MODELS, in_repository
from utils.script import run_script

if TYPE_CHECKING:
    from synthetic import SceneFile

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = [in_repository(path) for path in BUNDLED_MODELS]
CONFIGS = {  # models with random weights
    "resnest200": ROOT / "configs" / "mask_rcnn_resnest200.py",
    "cascade": ROOT / "configs" / "cascade_mask_rcnn_resnest200_dcn.py",
}


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        choices=("bundled", *CONFIGS),
        default=["bundled", "resnest200"],
        help="bundled: the demo models; others: random weights (default: bundled resnest200)",
    )
    add(
        "--sizes",
        nargs="+",
        type=size,
        default=[(704, 520), (1408, 1040), (2816, 2080)],
        metavar="WIDTHxHEIGHT",
        help="of the image (default: 704x520 1408x1040 2816x2080)",
    )
    add("--instances", nargs="+", type=at_least(1), default=[50, 500, 2000])
    add(
        "--after_networks",
        nargs="*",
        type=at_least(1),
        default=[500, 1000, 2000, 5000],
        metavar="INSTANCES",
        help="also measure what follows the networks alone, with these numbers of instances on the "
        "largest image (default: 500 1000 2000 5000; without a number: not)",
    )
    add("--repeats", type=at_least(1), default=3, help="images a case (default: %(default)s)")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="not of the baseline")
    add("--compile", action="store_true", help="the project compiles its backbones")
    add("--threads", type=at_least(1), help="cores to use (default: all)")
    add("--no_baseline", action="store_true", help="measure the project only")
    add(
        "--memory_limit",
        type=float,
        metavar="GB",
        help="leave out baselines whose full frames are larger (default: half of the memory)",
    )
    add("--out", default="benchmark_inference.json", help="(default: %(default)s)")
    return parser.parse_args()


def size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` as two numbers."""
    width, height = map(at_least(1), text.split("x"))
    return width, height


def main(args: argparse.Namespace) -> None:
    args.precision = in_own_process(chosen_precision, args.precision)
    machine = in_own_process(machine_peak, args.threads, max(args.repeats, 5))
    machine["libraries_mb"] = in_own_process(libraries_mb)
    peaks = machine["matmul_gflops"]
    print(
        f"{machine['threads']} threads, {machine['cpu']}, torch {machine['torch']}; matrix "
        f"products: fp32 {peaks['fp32']:.0f}, bf16 {peaks['bf16']:.0f} GFLOP/s; libraries: "
        f"{machine['libraries_mb']} MB\n"
    )
    report = {"machine": machine, "cases": [], "after_networks": []}
    with tempfile.TemporaryDirectory() as folder:
        configs = {name: CONFIGS[name] for name in args.models if name != "bundled"}
        scenes = in_own_process(prepare_files, Path(folder), args.sizes, configs)
        for name in args.models:
            weights = [str(Path(folder) / f"{name}_{number}.pth") for number in (1, 2)]
            chosen = BUNDLED if name == "bundled" else weights
            results = [
                result
                for side, scene in scenes.items()
                for result in measure_image(name, chosen, side, scene, machine, args)
            ]
            report["cases"] += results
            print(f"\n{name}:\n\n{summary_table(results)}\n\nmilliseconds:\n")
            print(stage_table(results))
        largest = scenes[max(scenes, key=lambda side: side[0] * side[1])]
        for count in args.after_networks:
            print(f"after the networks: {count}", file=sys.stderr)
            case = Case("after networks", BUNDLED, largest, count, args.threads, args.repeats)
            report["after_networks"].append({"instances": count, **in_own_process(measure, case)})
    if args.after_networks:
        print(f"\nafter the networks, on {largest.image.stem}, milliseconds:\n")
        print(after_networks_table(report["after_networks"]) + "\n")
    write_json(args.out, report)
    print(f"written: {args.out}")


def measure_image(
    name: str,
    weights: Sequence[str],
    side: tuple[int, int],
    scene: SceneFile,
    machine: dict,
    args: argparse.Namespace,
) -> list[dict]:
    """All cases of one architecture on one image; a case without "seconds" did not fit."""
    work = [in_own_process(backbone_gflop, path, side) for path in weights]
    results = []
    for count in args.instances:
        for method in methods(name, args.no_baseline):
            print(f"{name}, {side[0]} x {side[1]}, {count}: {method}", file=sys.stderr)
            baseline = method in BASELINE_OF.values()
            own = {} if baseline else {"precision": args.precision, "compile": args.compile}
            case = Case(method, weights, scene, count, args.threads, args.repeats, **own)
            result = {
                "models": name,
                "size": side,
                "instances": count,
                "method": method,
                "precision": case.precision,
                "compile": case.compile,
            }
            if frames_gigabytes(method, count, side) <= memory_limit(args):
                result |= in_own_process(measure, case) or {}
            if "seconds" in result:
                gflop = sum(n * each for n, each in zip(backbone_runs(method), work, strict=True))
                result["backbone_gflops"] = gflop / result["seconds"]["backbone"]
                peak = machine["matmul_gflops"][case.precision]
                result["share_of_peak"] = result["backbone_gflops"] / peak
                result["own_mb"] = result["peak_mb"] - machine["libraries_mb"]
            results.append(result)
    return results


def memory_limit(args: argparse.Namespace) -> float:
    """Gigabytes that the full frames of a baseline may take."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return args.memory_limit or memory / 2


if __name__ == "__main__":
    run_script(main, parse_args())
