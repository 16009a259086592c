"""install_libs.sh with stand-ins for Python, pip and df, and check_install.py; no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from helpers import ROOT

import check_install
from check_install import installed_version, missing_pins

TOOLS = "bash cat df dirname env grep rm sed tail tee".split()  # neither Python nor a compiler
PINS = [
    pin
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if (pin := line.split("#")[0].strip())
]
needs_all = pytest.mark.skipif(bool(missing_pins()), reason="differs from requirements.txt")


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with nothing in it, not even pip."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Folder with the few commands that an installation needs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name))
    return folder


def write_command(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def write_python(path: Path, python: Path, prelude: str) -> Path:
    """An interpreter that runs `prelude` before the code after -c."""
    code = f"{prelude}; import sys; exec(sys.argv.pop())"
    return write_command(
        path, f"""[ "$1" != -c ] || exec "{python}" -c '{code}' "$2"\nexec "{python}" "$@\""""
    )


def write_pip(folder: Path, code: str = "") -> Path:
    """A stand-in for pip, to be found through PYTHONPATH."""
    (folder / "pip").mkdir(parents=True)
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(code)
    return folder


def install(*args: str, **variables: object) -> subprocess.CompletedProcess:
    dropped = ("PYTHON", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"PIP_NO_INDEX": "1"} | {key: str(value) for key, value in variables.items()}
    command = [shutil.which("bash"), str(ROOT / "install_libs.sh"), *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def error_line(result: subprocess.CompletedProcess) -> str:
    """The only line on standard error of a run that failed with exit code 2."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]


def test_help() -> None:
    result = install("--help")
    assert result.returncode == 0
    assert "bash install_libs.sh" in result.stdout and "PYTHON=" in result.stdout


def test_unknown_argument() -> None:
    assert "--fast" in error_line(install("--fast"))


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.13.0"])
def test_other_python_version(tmp_path: Path, empty_python: Path, version: str) -> None:
    numbers = version.replace(".", ", ")
    prelude = f'import sys; sys.version_info = ({numbers}); sys.version = "{version} (main)"'
    line = error_line(install(PYTHON=write_python(tmp_path / "python", empty_python, prelude)))
    assert f"is Python {version}," in line and "python3.12 -m venv" in line


@pytest.mark.parametrize("minor", [11, 12])
def test_python_versions_that_serve(tmp_path: Path, empty_python: Path, minor: int) -> None:
    prelude = f"import sys; sys.version_info = (3, {minor}, 1)"
    line = error_line(install(PYTHON=write_python(tmp_path / "python", empty_python, prelude)))
    assert "has no pip" in line  # past the version


def test_no_python(tools: Path) -> None:
    assert "no 'python'" in error_line(install(PATH=tools))


def test_python3_serves_where_there_is_no_python(tools: Path, empty_python: Path) -> None:
    write_command(tools / "python3", f'exec "{empty_python}" "$@"')
    assert "python3 -m ensurepip" in error_line(install(PATH=tools))


def test_python_of_the_operating_system(tmp_path: Path, empty_python: Path) -> None:
    prelude = (
        "import os, sys; sys.prefix = sys.base_prefix; "
        'os.path.exists = lambda path: path.endswith("EXTERNALLY-MANAGED")'
    )
    line = error_line(install(PYTHON=write_python(tmp_path / "python", empty_python, prelude)))
    assert "operating system" in line and "-m venv" in line


def test_too_little_room(tmp_path: Path, tools: Path, empty_python: Path) -> None:
    write_command(tools / "df", "echo Filesystem; echo /dev/x 99999999 90000000 9999999 91% /")
    pip = write_pip(tmp_path / "site", "raise SystemExit('pip was called')")
    line = error_line(install(PATH=tools, PYTHON=empty_python, PYTHONPATH=pip))
    assert "only 9 GB" in line and str(empty_python.parents[1]) in line


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("WARNING: Retrying after connection broken by 'NewConnectionError'", "check the network"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: something else", "ERROR: something else"),
    ],
)
def test_pip_fails(tmp_path: Path, empty_python: Path, output: str, expected: str) -> None:
    pip = write_pip(tmp_path / "site", f"print({output!r}); raise SystemExit(1)")
    line = error_line(install(PYTHON=empty_python, PYTHONPATH=pip, TMPDIR=tmp_path))
    assert expected in line
    log = Path(re.search(r"the whole output: (.*)\)", line)[1])
    assert output in log.read_text()


def test_everything_that_is_missing_is_installed_once(
    tmp_path: Path, tools: Path, empty_python: Path
) -> None:
    """A pip that installs by writing metadata; then the check finds that there is no torch."""
    code = """
import os, pathlib, sys
folder = pathlib.Path(__file__).parents[1]
with open(folder / "calls.txt", "a") as file:
    print(os.environ.get("PIP_CONSTRAINT"), *sys.argv[1:], file=file)
for name, _, version in (pin.partition("==") for pin in sys.argv if "==" in pin):
    print(f"Downloading {name}-{version}-py3.whl (7.5 MB)")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\\nVersion: {version}\\n")
"""
    site = write_pip(tmp_path / "site", code)
    result = install(PATH=tools, PYTHON=empty_python, PYTHONPATH=site, TMPDIR=tmp_path)
    assert re.search("torch.* cannot be imported", error_line(result))
    assert f"Downloading {PINS[0].replace('==', '-')}-py3.whl (7.5 MB)" in result.stdout
    packages, mmcv = (line.split() for line in (site / "calls.txt").read_text().splitlines())
    assert [word for word in packages if "==" in word] == [
        pin for pin in PINS if not pin.startswith("mmcv-full")
    ]
    # built apart from torch, with the setuptools that its setup needs, and never out of pip's cache
    assert mmcv[0] == "requirements.txt" and any(pin.startswith("setuptools==") for pin in PINS)
    assert "--no-cache-dir" in mmcv and "--no-build-isolation" not in mmcv
    assert [word for word in mmcv if "==" in word] == ["mmcv-full==1.7.2"]
    assert not list(tmp_path.glob("*.log"))
    install(PATH=tools, PYTHON=empty_python, PYTHONPATH=site, TMPDIR=tmp_path)
    assert len((site / "calls.txt").read_text().splitlines()) == 2


@needs_all
def test_second_run_finds_nothing_to_do(monkeypatch, tmp_path: Path) -> None:
    mark = tmp_path / "mark.txt"
    monkeypatch.setattr(check_install, "mark_path", lambda: mark)
    assert not check_install.passed_before()
    mark.write_text(check_install.fingerprint())
    assert check_install.passed_before()
    (tmp_path / "new.dist-info").mkdir()
    (tmp_path / "new.dist-info" / "METADATA").write_text("Name: new\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not check_install.passed_before()


@needs_all
def test_check_of_this_environment(run) -> None:
    done = run("check_install.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OK: Python 3.") and "operators work on cpu" in done.stdout


@needs_all
def test_opencv_without_its_system_libraries(tmp_path: Path) -> None:
    message = "libGL.so.1: cannot open shared object file"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})")
    other = tmp_path / "other-1.0.dist-info"  # the environment is not one that has passed before
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    line = error_line(install(PYTHON=sys.executable, PYTHONPATH=tmp_path))
    assert message in line and "libgl1" in line


def test_wrong_answers_of_an_operator_are_noticed(monkeypatch) -> None:
    import network.operators  # noqa: F401  (before mmcv.ops)

    import mmcv.ops

    check_install.check_operators("cpu")
    for name in ("nms", "roi_align", "modulated_deform_conv2d"):
        right = getattr(mmcv.ops, name)
        with monkeypatch.context() as patch:
            patch.setattr(mmcv.ops, name, lambda *args, right=right: wrong(right(*args)))
            with pytest.raises(RuntimeError, match="wrong answers"):
                check_install.check_operators("cpu")


def wrong(answer):
    return tuple(value + 1 for value in answer) if isinstance(answer, tuple) else answer + 1


def test_mmcv_beside_mmcv_full(monkeypatch) -> None:
    monkeypatch.setattr(check_install, "installed_version", lambda name: "2.1.0")
    with pytest.raises(check_install.InputError, match="uninstall -y mmcv mmcv-full"):
        check_install.self_check()


@pytest.mark.parametrize(
    ("command", "cuda", "expected"),
    [
        (None, "13.0", "no GPU"),
        ("nvidia-smi", None, "CPU build"),
        ("nvidia-smi", "13.0", "driver does not serve CUDA 13.0"),
    ],
)
def test_why_no_gpu_is_used(monkeypatch, command, cuda, expected) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(shutil, "which", lambda name: command)
    assert expected in check_install.describe_gpu()


def test_a_cpu_build_of_a_pin_is_the_pin(monkeypatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.11.0+cpu")
    assert installed_version("torch") == "2.11.0"


def test_every_requirement_is_pinned() -> None:
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in PINS)


@needs_all
def test_torch_and_torchvision_are_a_pair() -> None:
    (version,) = (pin[7:] for pin in PINS if pin.startswith("torch=="))
    assert f"`{PINS[0]}` and `{PINS[1]}`" in (ROOT / "README.md").read_text()
    required = [line for line in metadata.requires("torchvision") if line.startswith("torch")]
    assert len(required) == 1 and f"=={version}" in required[0].strip(")")
