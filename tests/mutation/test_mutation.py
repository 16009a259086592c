"""What the mutation script changes, and that the changed module is what a copy imports."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutation.copies import SRC, ChangedModule
from mutation.mutants import find_mutants, mutated

SOURCE = '''
"""Docstring 1."""
LIMIT: int = 5

def f(a, b=1, *, flag=True):
    """Docstring 2."""
    print("told", 3)
    if not a and b < LIMIT:
        raise ValueError(f"{a + 1} is wrong")
    for x, y in zip(a, b, strict=True):
        a.append(-x)
        a.y = 2
        b += x * y
    return b
'''


def test_changes():
    changes = {(mutant.line, mutant.change) for mutant in find_mutants(SOURCE)}
    assert changes == {
        (3, "5 -> 6"),
        (5, "1 -> 0"),
        (5, "1 -> 2"),
        (5, "True -> False"),
        (8, "b < LIMIT -> b <= LIMIT"),
        (8, "not a -> not not a"),
        (8, "not a and b < LIMIT -> not a or b < LIMIT"),
        (9, "raise ValueError(f'{a + 1} is wrong') -> left out"),
        (11, "-x -> --x"),
        (11, "a.append(-x) -> left out"),
        (12, "2 -> 3"),
        (12, "a.y = 2 -> left out"),
        (13, "b += x * y -> left out"),
        (13, "b += x * y -> b -= x * y"),
        (13, "x * y -> x / y"),
        (14, "return b -> return None"),
    }


def test_lines_that_have_to_be_executed():
    """A default is noticed by what executes the body, a constant by whatever uses the module."""
    lines = {(m.line, m.change): m.lines for m in find_mutants(SOURCE)}
    assert lines[3, "5 -> 6"] is None
    assert lines[5, "1 -> 0"] == (6, 14)
    assert lines[8, "not a -> not not a"] == (8, 8)
    assert lines[11, "-x -> --x"] == lines[11, "a.append(-x) -> left out"] == (11, 11)


@pytest.mark.parametrize(
    ("source", "change", "result"),
    [
        ("def f(): return 3 - 1", "3 - 1 -> 3 + 1", 4),
        ("def f(): return 3 - 1", "1 -> 0", 3),
        ("def f(x=0): return x", "0 -> 1", 1),
        ("def f(): return [] is None", "[] is None -> [] is not None", True),
        ("def f():\n a = [1]\n a.clear()\n return a", "a.clear() -> left out", [1]),
        ("def f(): return 1", "return 1 -> return None", None),
    ],
)
def test_the_changed_module_does_otherwise(source, change, result):
    (mutant,) = (m for m in find_mutants(source) if m.change == change)
    names: dict = {}
    exec(compile(mutated(source, mutant), "x.py", "exec"), names)
    assert names["f"]() == result


def test_a_copy_imports_the_changed_module(tmp_path: Path):
    path = SRC / "cells" / "rle.py"
    finder = ChangedModule(path, compile("VALUE = 7", "x", "exec"))
    assert finder.find_spec("cells.masks") is None
    spec = finder.find_spec("cells.rle")
    assert spec.origin == str(path)

    class Module:
        pass

    finder.exec_module(module := Module())
    assert module.VALUE == 7
