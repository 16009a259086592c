"""Reading pickles as data: nothing that a pickle names is imported or called.

A pickle is a program. The few names that a file of ours needs are mapped to harmless stand-ins;
any other name ends the reading.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from utils.script import InputError


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, stand_ins: Mapping[tuple[str, str], object]) -> None:
        super().__init__(file, encoding="latin1")  # bytes of Python 2, one character each
        self._stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> object:
        try:
            return self._stand_ins[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused") from None


def read_pickle(
    path: str | Path, stand_ins: Mapping[tuple[str, str], object], remedy: str
) -> object:
    """Read a pickle of plain Python types and stand-ins.

    Args:
        path: the file.
        stand_ins: what to use for each (module, name) that is admitted.
        remedy: ends the message of an error.

    Raises:
        InputError: the file is missing, truncated, no pickle, or asks for anything else.
    """
    try:
        with open(path, "rb") as file:
            return _Unpickler(file, stand_ins).load()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {remedy}") from error
    except Exception as error:  # a broken or hostile pickle can fail in any way
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{path}: not readable as a pickle of ours ({reason}); {remedy}"
        ) from error
