"""Markdown tables of measurements, and those of `benchmark_inference.py`."""

from __future__ import annotations

from collections.abc import Sequence

from cases import AFTER_TOTAL, BASELINE_OF

STAGES = (
    *("read", "prepare", "backbone", "RPN", "box head", "merge", "mask head", "paste", "mask NMS"),
    *AFTER_TOTAL,
)
AFTER_NETWORKS = ("merge", "paste", "mask NMS", *AFTER_TOTAL)
HEAD = ("image", "instances", "method")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are aligned to the right, in its source, too."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    rule = ["-" * (width - 1) + ":" for width in widths]
    return "\n".join(
        "| " + " | ".join(text.rjust(w) for text, w in zip(line, widths, strict=True)) + " |"
        for line in (columns, rule, *rows)
    )


def milliseconds(seconds: float | None) -> str:
    """Empty where nothing was measured."""
    if seconds is None:
        return ""
    return f"{1e3 * seconds:.1f}" if seconds < 0.01 else f"{1e3 * seconds:.0f}"


def summary_table(results: Sequence[dict]) -> str:
    """Time, memory and ratios of each case."""
    by_case = {_key(result, result["method"]): result for result in results}
    rows = []
    for result in results:
        baseline = by_case.get(_key(result, BASELINE_OF.get(result["method"])), {})
        rows.append((*_first_columns(result), *_summary(result, baseline)))
    columns = ("s", "times faster", "peak MB", "of baseline's", "without libraries")
    return markdown(
        (*HEAD, *columns, "after networks", "backbone GFLOP/s", "of matmul peak", "found"), rows
    )


def stage_table(results: Sequence[dict]) -> str:
    """Milliseconds of each stage; cases that did not fit are left out."""
    rows = [
        (*_first_columns(result), *_stages(result, (*STAGES, "total")))
        for result in results
        if "seconds" in result
    ]
    return markdown((*HEAD, *STAGES, "total"), rows)


def after_networks_table(results: Sequence[dict]) -> str:
    """Milliseconds of each stage, and microseconds an instance, which should stay the same."""
    rows = [
        (
            str(result["instances"]),
            *_stages(result, AFTER_NETWORKS),
            f"{1e6 * sum(result['seconds'][s] for s in AFTER_NETWORKS) / result['instances']:.0f}",
            str(result["found"]),
            str(result["peak_mb"]),
        )
        for result in results
    ]
    return markdown(("instances", *AFTER_NETWORKS, "us an instance", "found", "peak MB"), rows)


def _key(result: dict, method: str | None) -> tuple:
    return result["size"], result["instances"], method


def _first_columns(result: dict) -> tuple[str, ...]:
    width, height = result["size"]
    return f"{width} x {height}", str(result["instances"]), result["method"]


def _stages(result: dict, stages: Sequence[str]) -> list[str]:
    return [milliseconds(result["seconds"].get(stage)) for stage in stages]


def _summary(result: dict, baseline: dict) -> tuple[str, ...]:
    """Columns of one case; `baseline` has no "seconds" where there is none to compare with."""
    if "seconds" not in result:
        return ("too large", *[""] * 8)
    seconds = result["seconds"]
    after = sum(seconds.get(stage, 0) for stage in AFTER_NETWORKS)
    whole = seconds["total"] + sum(seconds.get(stage, 0) for stage in AFTER_TOTAL)
    faster = smaller = own = ""
    if "seconds" in baseline:
        faster = f"{baseline['seconds']['total'] / seconds['total']:.1f}"
        smaller = f"{result['peak_mb'] / baseline['peak_mb']:.0%}"
        own = f"{result['own_mb'] / baseline['own_mb']:.0%}"
    return (
        f"{seconds['total']:.2f}",
        faster,
        str(result["peak_mb"]),
        smaller,
        own,
        f"{after / whole:.1%}",
        f"{result['backbone_gflops']:.0f}",
        f"{result['share_of_peak']:.0%}",
        str(result["found"]),
    )
