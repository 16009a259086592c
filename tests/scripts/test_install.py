"""Error lines of install_libs.sh, with stand-ins for Python, the compiler and pip; no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from check_install import unmet_requirements

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "bash cat dirname env grep ln mktemp rm sed sleep tail".split()


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with nothing in it, not even pip."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Folder with the usual commands, but no Python and no compiler."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name))
    return folder


def write_command(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def write_pip(folder: Path, code: str = "") -> Path:
    """A stand-in for pip, to be found through PYTHONPATH."""
    (folder / "pip").mkdir(parents=True)
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(code)
    return folder


def install(*args: str, **variables: object) -> subprocess.CompletedProcess:
    dropped = ("PYTHON", "PYTHONPATH", "CIS_CPU_ONLY", "CXX")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"PIP_NO_INDEX": "1"} | {key: str(value) for key, value in variables.items()}
    command = [shutil.which("bash"), str(ROOT / "install_libs.sh"), *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def error_line(result: subprocess.CompletedProcess) -> str:
    """The only line on standard error of a run that failed with exit code 2."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]


def test_help() -> None:
    result = install("--help")
    assert result.returncode == 0
    assert "bash install_libs.sh" in result.stdout and "CIS_CPU_ONLY=1" in result.stdout


def test_unknown_argument() -> None:
    assert "--fast" in error_line(install("--fast"))


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.12.1"])
def test_other_python_version(tmp_path: Path, version: str) -> None:
    python = write_command(tmp_path / "python", f'[ -z "$2" ] || echo {version}')
    line = error_line(install(PYTHON=python))
    assert f"Python {version}" in line and "python3.11 -m venv" in line


def test_no_python(tools: Path) -> None:
    assert "no 'python'" in error_line(install(PATH=tools))


def test_python3_serves_where_there_is_no_python(tools: Path, empty_python: Path) -> None:
    write_command(tools / "python3", f'exec "{empty_python}" "$@"')
    result = install(PATH=tools)
    assert f"using {tools / 'python3'}" in result.stdout
    assert "ensurepip" in error_line(result)


def test_python_of_the_operating_system(tmp_path: Path) -> None:
    python = write_command(
        tmp_path / "python",
        'case "$2" in *version_info*) echo 3.11.2 ;; *EXTERNALLY-MANAGED*) exit 1 ;; esac',
    )
    line = error_line(install(PYTHON=python))
    assert "operating system" in line and "-m venv" in line


def test_no_compiler(tmp_path: Path, tools: Path, empty_python: Path) -> None:
    pip = write_pip(tmp_path / "site")
    line = error_line(install(PATH=tools, PYTHON=empty_python, PYTHONPATH=pip))
    assert "no C++ compiler" in line and "g++" in line


def test_no_python_headers(tmp_path: Path, tools: Path, empty_python: Path) -> None:
    pip = write_pip(tmp_path / "site")
    write_command(tools / "c++", "")
    python = write_command(
        tmp_path / "python",
        f'case "$2" in *include*) echo "{tmp_path}" ;; *) exec "{empty_python}" "$@" ;; esac',
    )
    line = error_line(install(PATH=tools, PYTHON=python, PYTHONPATH=pip))
    assert f"{tmp_path}/Python.h" in line and "python3.11-dev" in line


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("WARNING: Retrying after connection broken by 'NewConnectionError'", "check the network"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: something else", "ERROR: something else"),
    ],
)
def test_pip_fails(tmp_path: Path, empty_python: Path, output: str, expected: str) -> None:
    headers = tmp_path / "include"
    headers.mkdir()
    (headers / "Python.h").touch()
    python = write_command(
        tmp_path / "python",
        f'case "$2" in *include*) echo "{headers}" ;; *) exec "{empty_python}" "$@" ;; esac',
    )
    pip = write_pip(tmp_path / "site", f"print({output!r}); raise SystemExit(1)")
    result = install(PYTHON=python, PYTHONPATH=pip, CXX="true", TMPDIR=tmp_path)
    line = error_line(result)
    assert expected in line
    log = Path(re.search(r"the whole output: (.*)\)", line)[1])
    assert output in log.read_text()
    assert not list(tmp_path.glob("tmp.*")), "the working folder is left behind"


def test_gpu_that_torch_cannot_use(tmp_path: Path) -> None:
    if unmet_requirements():
        pytest.skip("this environment differs from requirements.txt")
    write_command(tmp_path / "nvidia-smi", "echo 'GPU 0: stand-in'")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    result = install(PATH=path, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="")
    assert "CIS_CPU_ONLY=1" in error_line(result)


def test_opencv_without_its_system_libraries(tmp_path: Path) -> None:
    if unmet_requirements():
        pytest.skip("this environment differs from requirements.txt")
    message = "libGL.so.1: cannot open shared object file"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})")
    line = error_line(install(PYTHON=sys.executable, PYTHONPATH=tmp_path))
    assert message in line and "libgl1" in line


def test_every_requirement_is_pinned() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line.split("#")[0].strip() for line in lines]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins if pin)
