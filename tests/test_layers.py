"""The packages of src/ import downwards only, and utils nothing but the standard library."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

SRC = ROOT / "src"
# what each package may import besides itself; scripts may import all of them
BELOW = {
    "utils": set(),
    "cells": {"utils"},
    "published": {"utils"},
    "network": {"cells", "utils"},
    "simulation": {"cells", "utils"},
    "reports": {"cells", "utils"},
    "runs": {"cells", "utils"},
    "evaluation": {"network", "cells", "utils"},
    "second_level": {"evaluation", "cells", "utils"},
    "training": {"evaluation", "network", "cells", "utils"},
}
SCRIPTS = {path.stem for path in SRC.glob("*.py")}


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that are imported anywhere in a syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module


def without_types(tree: ast.Module) -> ast.Module:
    """The tree without what is imported at its top for type hints only."""
    body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body, [])


def modules(package: str) -> list[Path]:
    return sorted((SRC / package).rglob("*.py"))


def test_every_package_has_its_layer() -> None:
    assert {path.parent.name for path in SRC.glob("*/__init__.py")} <= BELOW.keys()


@pytest.mark.parametrize("package", BELOW)
def test_packages_import_downwards(package: str) -> None:
    forbidden = (BELOW.keys() | SCRIPTS) - BELOW[package] - {package}
    for path in modules(package):
        for name in imported(ast.parse(path.read_text())):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


@pytest.mark.parametrize("package", BELOW)
def test_packages_have_no_circles(package: str) -> None:
    names = {
        ".".join(path.relative_to(SRC).with_suffix("").parts): path for path in modules(package)
    }
    left = {
        name: names.keys() & set(imported(without_types(ast.parse(path.read_text()))))
        for name, path in names.items()
    }
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"these modules import each other: {left}"


def test_scripts_do_not_import_each_other() -> None:
    for path in SRC.glob("*.py"):
        shared = SCRIPTS & {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
        assert not shared, f"{path} imports {shared}"


def test_utils_start_with_the_standard_library_only() -> None:
    """check_install.py runs before anything is installed."""
    known = sys.stdlib_module_names | {"utils"}
    for path in modules("utils"):
        tree = ast.parse(path.read_text())
        at_start = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        for name in imported(ast.Module(at_start, [])):
            assert name.split(".")[0] in known, f"{path} imports {name}"


def test_package_files_hold_a_docstring_only() -> None:
    for path in SRC.rglob("__init__.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path} has no docstring"
        assert len(tree.body) == 1, f"{path} holds more than a docstring"
