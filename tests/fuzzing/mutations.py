"""Damaging files: bytes of any file, and the structure of those that have one."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable

BYTES = (b"\x00", b"\xff", b"\x7f", b"\x80", b" ", b"\n", b'"', b"{", b"-", b"9")
WORDS = (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80")
# What programs forget: nothing, of another kind, negative, without end, too large.
ODD = (
    *(None, True, False, 0, 1, -1, 0.5, -0.5, 2**31, 2**63, -(2**63), 10**30, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "a", "1", "\0", "é", "²", "a1²3", "../x", "/", "x" * 3000),
    *([], {}, [[]], [{}], {"": None}, [None], [1, 2], [0.0, 1.0, 2.0], {"size": 5}, [[1] * 7]),
)


def damage_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to six changes: bits flipped, other bytes, pieces cut out, doubled, zeroed, inserted."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(BYTE_CHANGES)(damaged, rng)
    return bytes(damaged)


def _flip(content: bytearray, rng: random.Random) -> None:
    if content:
        content[_place(content, rng)] ^= 1 << rng.randrange(8)


def _byte(content: bytearray, rng: random.Random) -> None:
    place = _place(content, rng)
    content[place : place + 1] = rng.choice(BYTES)


def _word(content: bytearray, rng: random.Random) -> None:
    place = _place(content, rng)
    content[place : place + 4] = rng.choice(WORDS)


def _cut(content: bytearray, rng: random.Random) -> None:
    place = _place(content, rng)
    del content[place : place + rng.choice((1, 2, 16, 256))]


def _truncate(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _double(content: bytearray, rng: random.Random) -> None:
    place = _place(content, rng)
    content[place:place] = content[place : place + rng.choice((1, 4, 64, 1024))]


def _insert(content: bytearray, rng: random.Random) -> None:
    place = _place(content, rng)
    content[place:place] = rng.randbytes(rng.choice((1, 4, 32)))


def _zero(content: bytearray, rng: random.Random) -> None:
    place, length = _place(content, rng), rng.choice((4, 64, 1024))
    content[place : place + length] = bytes(len(content[place : place + length]))


BYTE_CHANGES = (_flip, _flip, _byte, _word, _cut, _truncate, _double, _insert, _zero)


def _place(content: bytearray, rng: random.Random) -> int:
    """Anywhere, but half of the time near an end, where headers and tables are."""
    if not content:
        return 0
    end = min(len(content), 600)
    where = rng.random()
    if where < 0.25:
        return rng.randrange(end)
    if where < 0.5:
        return len(content) - 1 - rng.randrange(end)
    return rng.randrange(len(content))


def damage_tree(value: object, rng: random.Random, odd: tuple = ODD) -> object:
    """A copy of nested dicts and lists; one to three nodes replaced, removed, doubled or moved."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if not places or rng.random() < 0.02:
            return rng.choice(odd)
        parent, key = rng.choice(places)
        change = rng.random()
        if change < 0.6:
            parent[key] = copy.deepcopy(rng.choice(odd))
        elif change < 0.75:
            del parent[key]
        elif change < 0.85 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            other, other_key = rng.choice(places)
            parent[key] = copy.deepcopy(other[other_key])
    return changed


def _places(value: object) -> list[tuple]:
    """(parent, key) of every node under `value`; of long lists the first ones."""
    children: list[tuple] = []
    if isinstance(value, dict):
        children = [(value, key) for key in value]
    elif isinstance(value, list):
        children = [(value, index) for index in range(min(len(value), 40))]
    return children + [place for parent, key in children for place in _places(parent[key])]


def damage_json(content: bytes, rng: random.Random) -> bytes:
    """Structure of a JSON file, or now and then its bytes."""
    if rng.random() < 0.25:
        return damage_bytes(content, rng)
    return json.dumps(damage_tree(json.loads(content), rng)).encode()


def damage_table(content: bytes, rng: random.Random) -> bytes:
    """Lines of a text table: one gone, doubled, moved, emptied, or bytes of it."""
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    change = rng.randrange(5)
    if change == 0:
        del lines[place]
    elif change == 1:
        lines.insert(place, lines[place])
    elif change == 2:
        rng.shuffle(lines)
    elif change == 3:
        lines[place] = rng.choice((b"", b",", b'"', b"\xff", b"\0", lines[place] + b",1"))
    else:
        return damage_bytes(content, rng)
    return b"\n".join(lines)


Damage = Callable[[bytes, random.Random], bytes]
