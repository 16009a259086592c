"""The packages of src/ import downwards only, and the help of a script loads no library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

SRC = ROOT / "src"
SCRIPTS = sorted(SRC.glob("*.py"))
# a package, and what it may import of the others; scripts and benchmarks may import all of them
MAY_IMPORT = {
    "utils": set(),
    "cells": {"utils"},
    "published": {"utils"},
    "network": {"cells", "utils"},
    "simulation": {"cells", "utils"},
    "runs": {"network", "cells", "utils"},
    "reports": {"runs", "cells", "utils"},
    "evaluation": {"network", "cells", "utils"},
    "training": {"evaluation", "network", "cells", "utils"},
    "second_level": {"evaluation", "network", "cells", "utils"},
}
NEVER = {"cells": {"torch", "torchvision", "mmcv", "mmdet"}}

PRINT_HELP = """
import os, runpy, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as left:
        assert not left.code, script
    loaded = {"torch", "numpy", "cv2"} & sys.modules.keys()
    assert not loaded, f"{script} loads {loaded}"
"""


def imported(tree: ast.AST) -> Iterator[str]:
    """Whole names of the modules that are imported anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_package_has_its_layer():
    folders = {path.parent.name for path in SRC.glob("*/*.py")}
    assert folders <= MAY_IMPORT.keys(), "add the new package to MAY_IMPORT"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_downwards_only(package):
    others = MAY_IMPORT.keys() | {path.stem for path in SCRIPTS}
    forbidden = (others - MAY_IMPORT[package] - {package}) | NEVER.get(package, set())
    for path in (SRC / package).rglob("*.py"):
        upwards = {name for name in imported(parse(path)) if name.split(".")[0] in forbidden}
        assert not upwards, f"{path.relative_to(ROOT)} imports {', '.join(upwards)}"


def without_types(tree: ast.Module) -> ast.Module:
    """The tree without what is imported at its top for type hints only."""
    body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body, [])


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_have_no_circles(package):
    names = {
        ".".join(path.relative_to(SRC).with_suffix("").parts): path
        for path in (SRC / package).rglob("*.py")
    }
    left = {
        name: names.keys() & set(imported(without_types(parse(path))))
        for name, path in names.items()
    }
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"these modules import each other: {left}"


def test_scripts_do_not_import_each_other():
    names = {path.stem for path in SCRIPTS}
    for path in SCRIPTS:
        assert not names & set(imported(parse(path))), path.name


def test_utils_need_the_standard_library_only_to_be_imported():
    """check_install.py runs before anything is installed."""
    names = sorted(path.stem for path in (SRC / "utils").glob("*.py") if path.stem != "__init__")
    code = "import sys\n" + "\n".join(f"import utils.{name}" for name in names)
    code += "\nprint(*{m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names)"
    options = ["-S", "-E", "-c", f"import sys; sys.path.insert(0, {str(SRC)!r})\n{code}"]
    done = subprocess.run([sys.executable, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"utils", "__main__"}


def test_init_files_are_docstrings():
    for path in SRC.rglob("__init__.py"):
        tree = parse(path)
        assert ast.get_docstring(tree) and len(tree.body) == 1, path.relative_to(ROOT)


def test_help_loads_no_library():
    command = [sys.executable, "-c", PRINT_HELP, *map(str, SCRIPTS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for path in SCRIPTS:
        assert f"usage: {path.name}" in done.stdout
