"""Small changes of a module's source that a test should notice.

Operators of comparison and arithmetic are swapped, `and` and `or`, too; `not`, `-` and `~` go;
numbers, True and False change, in defaults as well; a function returns None; a statement is left
out. Strings, messages of errors, what is printed or logged, annotations and docstrings stay as
they are, and so do assignments to plain names, without which all that follows is a NameError, and
zip's `strict`, since the lengths are equal.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Edit = Callable[[], None]

COMPARISONS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In},
}
ARITHMETIC = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitXor: ast.BitAnd},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift},
    ast.RShift: ast.LShift,
}
LOGGING = {"print", "print_error", "warn", "debug", "info", "warning", "error", "exception"}


@dataclass(frozen=True)
class Mutant:
    """A change.

    Attributes:
        line: where it is.
        change: "before -> after", shortened.
        lines: first and last line of what has to be executed to notice it; None for what is
            executed when the module is imported.
        node, way: number of the changed node in the order of `ast.walk`, and of its changes.
    """

    line: int
    change: str
    lines: tuple[int, int] | None
    node: int
    way: int


def find_mutants(source: str) -> list[Mutant]:
    """All changes of a module, in the order of its nodes."""
    tree = ast.parse(source)
    places = dict(_places(tree, None))
    found = []
    for number, node in enumerate(ast.walk(tree)):
        if node not in places:
            continue
        for way in range(len(_edits(node))):
            # a fresh tree for each, since edits work in place
            changed = _nth(ast.parse(source), number)
            at, edit = _edits(changed)[way]
            before = ast.unparse(at)
            edit()
            after = _short(ast.unparse(changed)) if at is changed else "left out"
            change = f"{_short(before)} -> {after}"
            lines = places[node] if at is changed else _place_of(at, places[node])
            found.append(Mutant(at.lineno, change, lines, number, way))
    return found


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The module with the change, to be compiled."""
    tree = ast.parse(source)
    _edits(_nth(tree, mutant.node))[mutant.way][1]()
    return ast.fix_missing_locations(tree)


def _nth(tree: ast.Module, number: int) -> ast.AST:
    return next(node for index, node in enumerate(ast.walk(tree)) if index == number)


def _short(text: str, length: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _edits(node: ast.AST) -> list[tuple[ast.AST, Edit]]:
    """What may be changed in a node: the part that changes, and what changes it in place."""
    edits: list[tuple[ast.AST, Edit]] = []
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            edits.append((node, _setter(node.ops, index, COMPARISONS[type(operator)]())))
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC:
        other = ARITHMETIC[type(node.op)]()
        edits.append((node, lambda: setattr(node, "op", other)))
    elif isinstance(node, ast.BoolOp):
        other_bool = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        edits.append((node, lambda: setattr(node, "op", other_bool)))
    elif isinstance(node, ast.UnaryOp):
        undone = ast.UnaryOp(node.op, node.operand)
        edits.append((node, lambda: setattr(node, "operand", undone)))
    elif isinstance(node, ast.Constant):
        edits += [(node, _replacing(node, value)) for value in _other_values(node.value)]
    elif isinstance(node, ast.Return) and node.value and not _is_none(node.value):
        edits.append((node, lambda: setattr(node, "value", ast.Constant(None))))
    for block in ("body", "orelse", "finalbody"):
        statements = getattr(node, block, None)
        if isinstance(statements, list):
            for index, statement in enumerate(statements):
                if _can_go(statement):
                    edits.append((statement, _setter(statements, index, ast.Pass())))
    return edits


def _setter(items: list, index: int, value: ast.AST) -> Edit:
    return lambda: items.__setitem__(index, value)


def _replacing(node: ast.Constant, value: object) -> Edit:
    return lambda: setattr(node, "value", value)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _other_values(value: object) -> list[object]:
    """0 becomes 1, 1 becomes 0 and 2, other numbers one more."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int) and value == 1:
        return [0, 2]
    return [value + 1] if isinstance(value, int | float) else []


def _can_go(statement: ast.stmt) -> bool:
    """Whether a statement may be left out."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call) and not _only_tells(statement)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        named = isinstance(targets[0], ast.Name | ast.Tuple)
        return isinstance(statement, ast.AugAssign) or (statement.value is not None and not named)
    return isinstance(statement, ast.Raise | ast.Continue | ast.Break | ast.Delete)


def _only_tells(node: ast.AST) -> bool:
    """Whether a statement prints or logs."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    function = node.value.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in LOGGING


def _places(
    node: ast.AST, lines: tuple[int, int] | None
) -> Iterator[tuple[ast.AST, tuple[int, int] | None]]:
    """The nodes that may be changed, each with the lines that have to be executed."""
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert) or _only_tells(node):
        return
    if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        return
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    yield node, lines
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            place = lines
            if function:
                inside = node.body[0].lineno, node.end_lineno
                place = _place_of(child, inside) if field == "body" else inside
            elif lines and isinstance(child, ast.stmt):
                place = _place_of(child, lines)
            yield from _places(child, place)


def _place_of(node: ast.AST, outer: tuple[int, int] | None) -> tuple[int, int] | None:
    """Lines of a statement within a function; of one with a body those before it."""
    if outer is None or not isinstance(node, ast.stmt):
        return outer
    body = getattr(node, "body", None)
    last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
    return node.lineno, last
