r"""Draw how a training went: its loss, and the score of each evaluation, by cell type.

    python benchmarks/plot_training.py --logs models/a/train.log.json models/b/train.log.json \
        --out models/training.svg

Reads the logs that `train_cis.py` writes into --out_dir. Logs of trainings that went on from each
other are drawn one behind the other. models/README.md shows the figure of the bundled models.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from utils.files import atomic_path
from utils.options import script_parser
from utils.script import InputError, run_script

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORE = "mAP"


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--logs", nargs="+", required=True, help="train.log.json, in the order of the trainings")
    add("--out", default="training.svg", help="a picture in any format that matplotlib writes")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")  # no screen
    matplotlib.rcParams["svg.hashsalt"] = "0"  # the same file from the same logs
    from matplotlib import pyplot

    figure, (losses, scores) = pyplot.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    start = 0
    for path in args.logs:
        rows = read_log(path)
        draw(losses, rows, start, lambda name: name == "loss")
        draw(scores, rows, start, lambda name: name.startswith(SCORE))
        start += max(row["iter"] for row in rows)
    losses.set(xlabel="iteration", ylabel="training loss")
    scores.set(xlabel="iteration", ylabel="validation mAP", ylim=(0, None))
    scores.legend(frameon=False)
    with atomic_path(args.out) as temporary:
        figure.savefig(temporary, metadata={"Date": None} if args.out.endswith("svg") else None)


def read_log(path: str) -> list[dict]:
    """Rows of a training's log; of iterations that were repeated after a resume, the last.

    Raises:
        InputError: not readable, or no log of a training.
    """
    try:
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        rows = {(row["mode"], row["iter"]): row for row in lines if "iter" in row}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"--logs {path}: no train.log.json of a training ({error})") from error
    if not rows:
        raise InputError(f"--logs {path}: has no iterations yet")
    return sorted(rows.values(), key=lambda row: row["iter"])


def draw(axes: Axes, rows: list[dict], start: int, wanted) -> None:
    """A line for each wanted value; those of one name have one colour and one entry in the key."""
    for name in sorted({name for row in rows for name in row if wanted(name)}):
        points = [(start + row["iter"], row[name]) for row in rows if name in row]
        known = [line for line in axes.lines if line.get_gid() == name]
        color = known[0].get_color() if known else None
        label = f"_{name}" if known else name.removeprefix(f"{SCORE}_")
        axes.plot(*zip(*points, strict=True), marker=".", color=color, label=label, gid=name)


if __name__ == "__main__":
    run_script(main, parse_args())
