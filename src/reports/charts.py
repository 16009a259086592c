"""Distributions as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.numbers import format_number

BINS = 30
TAILS = (0.5, 99.5)  # percentiles; what is beyond counts into the first and the last bin
# The axis is logarithmic where these percentiles differ by such a factor and half of the values lie
# in this part between them.
WIDE, SKEWED = 30, 0.2


@dataclass(frozen=True)
class Chart:
    """Values of one kind, by class.

    Attributes:
        title: what is shown.
        unit: of the values.
        values: numbers by class; a class may have none.
        counted: what the values are of.
    """

    title: str
    unit: str
    values: Mapping[str, Sequence[float]]
    counted: str = "cells"


def draw_chart(chart: Chart, colors: Mapping[str, str]) -> str:
    """Share of each class's values in bins, as SVG text.

    Args:
        chart: at least one class has a finite value.
        colors: by class, as `#rrggbb`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    finite = {name: _finite(values) for name, values in chart.values.items()}
    edges, logarithmic = bin_edges(np.concatenate(list(finite.values())))
    figure = Figure(figsize=(4.6, 2.7), layout="constrained")
    axes = figure.subplots()
    for name, values in finite.items():
        if len(values):
            counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
            share = 100 * counts / len(values)
            axes.stairs(share, edges, fill=True, alpha=0.25, color=colors[name])
            label = f"{name} (median {format_number(float(np.median(values)))})"
            axes.stairs(share, edges, color=colors[name], linewidth=1.5, label=label)
    if logarithmic:
        axes.set_xscale("log")
    axes.set(xlabel=chart.unit, ylabel=f"share of {chart.counted} (%)", title=chart.title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.title}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def has_values(chart: Chart) -> bool:
    """Whether there is anything to draw."""
    return any(len(_finite(values)) for values in chart.values.values())


def bin_edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges of the bins, float64 [BINS + 1], and whether they grow by a factor."""
    low, median, high = np.percentile(values, (TAILS[0], 50, TAILS[1]))
    if low > 0 and high > WIDE * low and median - low < SKEWED * (high - low):
        return np.geomspace(low, high, BINS + 1), True
    if high == low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1), False


def _finite(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    return array[np.isfinite(array)]
