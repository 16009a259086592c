"""Sharing the images of a run among processes and machines."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """One of `count` shares; `index` is counted from 0."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every `count`-th item; the shares together are all items, each once."""
        return list(items[self.index :: self.count])

    def divided(self, rank: int, world: int) -> Share:
        """The share of one of `world` processes that work on this share together."""
        return Share(self.index + self.count * rank, self.count * world)


def share_option(text: str) -> Share:
    """`--shard 2/8`, for `type=` of an option: the second of eight shares.

    Raises:
        argparse.ArgumentTypeError: it is not i/n with 1 <= i <= n.
    """
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: give i/n, from 1/n to n/n")
    return Share(int(match[1]) - 1, int(match[2]))
