"""Small data and models that the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from helpers import CLASS_NAMES, CONFIGS, ROOT, write_shapes
from script_server import ScriptServer
from untrained import write_untrained


@pytest.hookimpl(optionalhook=True)  # there may be no xdist
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Share all tests among processes; run those of files that were named in this one."""
    named = config.args_source == pytest.Config.ArgsSource.ARGS
    return 0 if named or config.option.capture == "no" else min(os.cpu_count() or 1, 4)


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes that share the tests have one thread each."""
    if config.getoption("numprocesses", 0):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.CompletedProcess]:
    """Start a script of src/ as a user does, from the repository's root, on the CPU."""

    def start_script(
        script: str, *args: object, launcher: tuple = ()
    ) -> subprocess.CompletedProcess:
        command = [sys.executable, *launcher, str(ROOT / "src" / script), *map(str, args)]
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    return start_script


@pytest.fixture(scope="session")
def run(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """The same as `start` in a fork of a process that has loaded the libraries, which is quick.

    Of each script, at least one test uses `start`: it would see an import that is missing.
    """
    servers: list[ScriptServer] = []

    def run_script(script: str, *args: object) -> subprocess.CompletedProcess:
        if not servers:
            servers.append(ScriptServer(tmp_path_factory.mktemp("server")))
        return servers[0].run(script, *map(str, args))

    yield run_script
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `images` and `annotations` of 8 training and 3 validation images."""
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", 8, 3)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a checkpoint of a tiny config with random weights that answers with many boxes."""
    folder = tmp_path_factory.mktemp("untrained")

    def make(config: str = "tiny_resnest", seed: int = 0, names: tuple = CLASS_NAMES) -> Path:
        path = folder / f"{config}_{seed}_{len(names)}_{names[0]}.pth"
        return path if path.is_file() else write_untrained(path, config, seed, names)

    return make


@pytest.fixture(scope="session")
def trained(start, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a short training on `shapes`, which learns them; not to be written to.

    The processes that share the tests share it, too.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    out_dir = folder / "trained_model"
    with FileLock(folder / "trained_model.lock"):
        if (out_dir / "latest.pth").is_file():
            return out_dir
        done = start(
            "train_cis.py",
            *("--image_dir", shapes / "images", "--annotation_dir", shapes / "annotations"),
            *("--config", CONFIGS / "tiny_resnest.py", "--out_dir", out_dir),
            *("--batch_size", 2, "--workers", 0, "--precision", "fp32"),
        )
        assert done.returncode == 0, done.stderr
    return out_dir
