"""What `benchmark_inference.py` measures; each function runs in a process of its own.

Heavy imports stay inside the functions: the parent process must remain small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import median_stages

from utils.script import quiet_libraries
from utils.stages import StageTimer, peak_memory_mb

if TYPE_CHECKING:
    import numpy as np
    from synthetic import SceneFile

    from cells.instances import Boxes

BASELINE_OF = {"ensemble": "two passes", "one model": "inference_detector"}
BACKBONE_WAYS = ("mmdet, fp32", "mmdet's split attention, bf16", "project, bf16")
AFTER_TOTAL = ("features", "CatBoost", "draw")  # "total" ends with the final instances


@dataclass(frozen=True)
class Case:
    """One condition, by one method.

    Attributes:
        method: "ensemble" and its baseline "two passes", with all models; "one model" and its
            baseline "inference_detector", with the first one; "after networks", without any.
        weights: checkpoints.
        scene: the image.
        instances: how many boxes the mask stage gets.
        threads: cores; None is all.
        repeats: images; the medians are reported.
        precision: of the project's own methods; the baselines compute in float32.
        compile: the project's own methods compile their backbones.
    """

    method: str
    weights: Sequence[str]
    scene: SceneFile
    instances: int
    threads: int | None
    repeats: int
    precision: str = "fp32"
    compile: bool = False


def methods(architecture: str, no_baseline: bool) -> list[str]:
    """In the order of the tables: each of the project's own, then its baseline."""
    if no_baseline:
        return list(BASELINE_OF)
    pairs = [method for pair in BASELINE_OF.items() for method in pair]
    # mmdet's cascade wants a mask head of each stage, the published and the bundled have one in all
    return pairs[:3] if architecture in ("bundled", "cascade") else pairs


def frames_gigabytes(method: str, instances: int, size: tuple[int, int]) -> float:
    """What a method's full frames take: one byte a pixel, or two arrays of float32."""
    pixels = instances * size[0] * size[1]
    return {"two passes": 8, "inference_detector": 1}.get(method, 0) * pixels / 1e9


def backbone_runs(method: str) -> tuple[int, int]:
    """How often the backbones of the first and of the second model run for an image."""
    return {"two passes": (2, 2), "ensemble": (1, 1)}.get(method, (1, 0))


def measure(case: Case) -> dict:
    """Seconds of each stage and in total, peak memory, and instances that were found."""
    quiet_libraries()
    import torch
    from synthetic import jittered_cells

    from cells.images import read_image
    from utils.device import use_threads

    torch.set_grad_enabled(False)
    use_threads(case.threads)
    cells = jittered_cells(case.scene, case.instances)
    segment = _method(case, cells)
    if case.compile:
        segment(read_image(case.scene.image), StageTimer())  # compiles
    timers = []
    for _ in range(case.repeats):
        timer = StageTimer()
        with timer.stage("read"):
            image = read_image(case.scene.image)
        with timer.stage("all"):
            found = segment(image, timer)
        later = sum(timer.seconds.get(stage, 0) for stage in AFTER_TOTAL)
        timer.seconds["total"] = timer.seconds.pop("all") - later
        timers.append(timer)
    return {"found": found, "seconds": median_stages(timers), "peak_mb": peak_memory_mb()}


def _method(case: Case, cells: Boxes) -> Callable[[np.ndarray, StageTimer], int]:
    """What segments an image, filling a timer, and returns the number of instances."""
    if case.method in BASELINE_OF.values():
        from baseline import InferenceDetector, TwoPasses

        if case.method == "two passes":
            return TwoPasses(case.weights, cells)
        return InferenceDetector(case.weights[0], cells)
    from project import AfterNetworks, Project

    if case.method == "after networks":
        return AfterNetworks(case.weights, cells)
    weights = case.weights[:1] if case.method == "one model" else case.weights
    return Project(weights, cells, case.precision, case.compile)


def libraries_mb() -> int:
    """Memory of a process that has imported all that a case needs, and done nothing yet."""
    quiet_libraries()
    import baseline  # noqa: F401
    import project  # noqa: F401

    return peak_memory_mb()


def chosen_precision(name: str) -> str:
    """What `--precision` comes to on this CPU: "fp32" or "bf16"."""
    import torch

    from utils.device import resolve_precision

    dtype = resolve_precision(name, torch.device("cpu"))
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


def backbone_gflop(path: str, size: tuple[int, int]) -> float:
    """Arithmetic of one model's backbone and FPN on an image of (width, height).

    Multiplications and additions count one each. Nothing is computed: tensors without data go
    through the model.
    """
    quiet_libraries()
    import json

    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from network.checkpoints import load_checkpoint
    from network.detector import Detector
    from network.models import build_model

    meta = load_checkpoint(path)["meta"]
    model = build_model(json.loads(meta["model"])).eval()
    detector = Detector(model, json.loads(meta["inference"]), meta["class_names"], "cpu")
    prepared = detector.prepare(np.zeros((*size[::-1], 3), np.uint8))
    height, width = prepared.img_meta["pad_shape"][:2]
    with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.to("meta").extract_feat(torch.zeros(1, 3, height, width))
    return counter.get_total_flops() / 1e9


def operator_seconds(
    path: str, scene: SceneFile, way: str, threads: int | None
) -> dict[str, float]:
    """Own seconds of each operator of one model's backbone and neck, in one of `BACKBONE_WAYS`."""
    quiet_libraries()
    import torch
    from baseline import plain_detector, use_usual
    from mmdet.models.backbones.resnest import SplitAttentionConv2d
    from torch.profiler import ProfilerActivity, profile

    from cells.images import read_image
    from network.detector import Detector
    from utils.device import keep_freed_memory, use_threads

    use_threads(threads)
    if way == BACKBONE_WAYS[0]:
        detector = plain_detector(path)
    else:
        detector = Detector.load(path, torch.device("cpu"), torch.bfloat16)
        if way == BACKBONE_WAYS[1]:
            use_usual(SplitAttentionConv2d, detector.model)
        else:
            keep_freed_memory()
    inputs = [detector.prepare(read_image(scene.image))]
    for _ in range(2):
        detector.features(inputs)  # the first calls choose kernels
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        detector.features(inputs)
    return {event.key: event.self_cpu_time_total / 1e6 for event in profiler.key_averages()}


def prepare_files(
    folder: Path, sizes: Sequence[tuple[int, int]], configs: dict[str, Path]
) -> dict[tuple[int, int], SceneFile]:
    """Write an image of each size, and two checkpoints of each configuration.

    Args:
        folder: where the files go; checkpoints are named `<name>_1.pth` and `<name>_2.pth`.
        configs: configuration files by name.
    """
    quiet_libraries()
    from synthetic import write_scene, write_untrained

    for name, config in configs.items():
        for seed in (1, 2):
            write_untrained(config, folder / f"{name}_{seed}.pth", seed)
    return {size: write_scene(folder, size) for size in sizes}
