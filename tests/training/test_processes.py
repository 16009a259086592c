"""What two processes learn together, against one that sees all their images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT


@pytest.fixture(scope="module")
def gradients(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("two_processes.py")), str(out)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(out / "gradients.pth")


def assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("case", ["other cells", "same cells"])
def test_two_processes_take_the_mean_of_their_gradients(gradients, case):
    first, second = gradients["halves"][case]
    mean = {name: (first[name] + second[name]) / 2 for name in first}
    assert_equal(gradients["both"][case], mean)
    name = "backbone.layer1.0.conv1.weight"  # the halves do not learn the same
    assert not torch.allclose(first[name], second[name], rtol=0.05)


def test_it_is_the_gradient_of_one_process_with_as_many_anchors_and_cells_in_each(gradients):
    """Each process divides its losses by its own numbers of anchors, boxes and cells, as mmdet and
    Detectron2 do: where these differ, one process weighs the images a little otherwise."""
    assert_equal(gradients["both"]["same cells"], gradients["one"]["same cells"])
    both, one = (
        torch.cat([value.ravel() for value in gradients[kind]["other cells"].values()])
        for kind in ("both", "one")
    )
    assert torch.nn.functional.cosine_similarity(both, one, dim=0) > 0.99
