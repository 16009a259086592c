"""The figure of a training is drawn from its logs."""

from __future__ import annotations

import json
import sys

import pytest
from helpers import ROOT

from utils.script import InputError

sys.path.insert(0, str(ROOT / "benchmarks"))
import plot_training


def write_log(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_repeated_iterations_count_once(tmp_path):
    """After a kill and a resume, the log has some iterations twice."""
    rows = [
        {"hook_msgs": {}},
        {"mode": "train", "iter": 100, "loss": 2.0},
        {"mode": "val", "iter": 100, "mAP": 0.1},
        {"mode": "train", "iter": 50, "loss": 3.0},
        {"mode": "train", "iter": 100, "loss": 2.5},
    ]
    read = plot_training.read_log(write_log(tmp_path / "train.log.json", rows))
    assert [(row["mode"], row["iter"], row.get("loss")) for row in read] == [
        ("train", 50, 3.0),
        ("train", 100, 2.5),
        ("val", 100, None),
    ]


def test_trainings_follow_each_other_in_one_colour():
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    for start, scores in ((0, (0.1, 0.2)), (100, (0.3, 0.4))):
        rows = [{"iter": 50 * i, "mAP": score} for i, score in enumerate(scores, 1)]
        plot_training.draw(axes, rows, start, lambda name: name == "mAP")
    first, second = axes.lines
    assert list(first.get_xdata()) == [50, 100]
    assert list(second.get_xdata()) == [150, 200]
    assert first.get_color() == second.get_color()
    pyplot.close()


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"iter": 5}'])
def test_what_is_no_log_ends_in_one_line(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"--logs .*x\.json"):
        plot_training.read_log(str(path))


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_logs_give_the_same_picture(tmp_path, monkeypatch, suffix):
    rows = [{"mode": "train", "iter": 50, "loss": 3.0}, {"mode": "val", "iter": 50, "mAP": 0.2}]
    log = write_log(tmp_path / "train.log.json", rows)
    pictures = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.{suffix}"
        monkeypatch.setattr(sys, "argv", ["plot", "--logs", log, "--out", str(out)])
        plot_training.main(plot_training.parse_args())
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) > 5000
