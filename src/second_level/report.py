"""What the training of the 2nd-level model prints, draws and writes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoostRegressor

from utils.files import atomic_path

TOP = 20  # features in the table and in the plot


def importances(model: CatBoostRegressor) -> pd.Series:
    """Importance of each feature in percent, highest first."""
    values = pd.Series(model.get_feature_importance(), model.feature_names_, name="importance")
    return values.sort_values(ascending=False)


def print_report(
    title: str, figures: Mapping[str, float], before: float, sweep: pd.DataFrame, honest_gain: float
) -> None:
    """Print the figures of the tested images, and the sweep of drop thresholds."""
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name}: {value:.4f}" if isinstance(value, float) else f"  {name}: {value}")
    print(f"\ncompetition mAP without rescoring {before:.4f}; with it, by drop threshold")
    print(sweep.round(4).to_string())
    if not np.isnan(honest_gain):
        print(f"gain where the other parts choose each part's threshold: {honest_gain:+.4f}")


def write_model(out_dir: Path, model: CatBoostRegressor, stored: Mapping[str, float]) -> None:
    """`catboost.pkl` (a pickled CatBoostRegressor) and `features.csv` (column `features`).

    Args:
        out_dir: folder.
        model: trained.
        stored: what the model is to know about its use, see `model.STORED`.

    Raises:
        InputError: the folder cannot be written to.
    """
    for name, value in stored.items():
        model.get_metadata()[name] = str(value)
    with atomic_path(out_dir / "catboost.pkl") as temporary:
        temporary.write_bytes(pickle.dumps(model, protocol=4))
    with atomic_path(out_dir / "features.csv") as temporary:
        pd.DataFrame({"features": model.feature_names_}).to_csv(temporary, index=False)


def plot_importances(path: Path, model: CatBoostRegressor) -> None:
    """Bars of the most important features (PNG)."""
    from matplotlib.figure import Figure

    values = importances(model).head(TOP)[::-1]
    figure = Figure(figsize=(7, 6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.barh(values.index, values.to_numpy())
    axes.set(xlabel="importance (%)", title=f"{TOP} of {len(model.feature_names_)} features")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def plot_predicted_iou(path: Path, predicted: np.ndarray, iou: np.ndarray, title: str) -> None:
    """Predicted against true IoU of the tested instances (PNG)."""
    from matplotlib.figure import Figure

    tested = ~np.isnan(predicted)
    figure = Figure(figsize=(5, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.scatter(iou[tested], predicted[tested], s=4, alpha=0.3, linewidths=0)
    axes.set(xlabel="true IoU", ylabel="predicted IoU", xlim=(0, 1), ylim=(0, 1), title=title)
    axes.set_aspect("equal")
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
