"""Reading pickles as data: nothing that a pickle names is imported or called.

A pickle is a program. The few names that a file of ours needs are mapped to harmless stand-ins;
any other name ends the reading, and so does what plain data does not need. The C unpickler and
NumPy's constructors cannot be trusted with it: a few crafted bytes make them write outside of their
memory, recurse until the stack ends, or fill gigabytes.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from utils.script import InputError

if TYPE_CHECKING:
    import numpy as np

KEYS = (str, int)  # a nested tuple as a key would be hashed with a recursion in C
NUMBERS = ("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
MOST_DIMENSIONS = 8
# What plain data and stand-ins need of the language; see `pickletools` for each.
OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG "
    "LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE "
    "TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE "
    "GLOBAL STACK_GLOBAL REDUCE NEWOBJ"
).split()
StandIns = Mapping[tuple[str, str], object]


class _Unpickler(pickle._Unpickler):
    """Python's own, with the operations that plain data needs, and keys that are safe to hash."""

    dispatch = {
        code[0]: pickle._Unpickler.dispatch[code[0]]
        for code in (getattr(pickle, name) for name in OPCODES)
    }

    def __init__(self, content: bytes, stand_ins: StandIns, persistent: Callable | None) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")  # as bytes of Python 2 may be
        self._stand_ins = stand_ins
        self._types = tuple(value for value in stand_ins.values() if isinstance(value, type))
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> object:
        try:
            return self._stand_ins[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused") from None

    def persistent_load(self, pid: object) -> object:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to something outside of it")
        return self._persistent(pid)

    def load_dict(self) -> None:
        check_keys(self.stack[::2])
        super().load_dict()

    def load_setitem(self) -> None:
        check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        check_keys(self.stack[::2])
        super().load_setitems()

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, self._types):
            raise pickle.UnpicklingError("it gives a state to what has none")
        target.__setstate__(state)

    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BINPERSID[0]] = pickle._Unpickler.load_binpersid


def check_keys(keys: Iterable[object]) -> None:
    """Raise an UnpicklingError unless all keys of a dict are texts or whole numbers."""
    if not all(type(key) in KEYS for key in keys):
        raise pickle.UnpicklingError("a key in it is neither a text nor a number")


def loads(content: bytes, stand_ins: StandIns, persistent: Callable | None = None) -> object:
    """Read a pickle of plain Python types and stand-ins.

    Args:
        content: the pickle.
        stand_ins: what to use for each (module, name) that is admitted: classes with a
            `__setstate__`, functions that take anything, and values.
        persistent: what to make of references to something outside; default: they are refused.

    Raises:
        Exception: of any kind, where it is broken, or asks for anything else.
    """
    try:
        return _Unpickler(content, stand_ins, persistent).load()
    except KeyError as error:  # an operation that is not among `OPCODES`, or a wrong reference
        raise pickle.UnpicklingError(f"damaged, or not plain data (at {error})") from error


def read_pickle(path: str | Path, stand_ins: StandIns, remedy: str) -> object:
    """`loads` from a file.

    Args:
        path: the file.
        stand_ins: as for `loads`.
        remedy: ends the message of an error.

    Raises:
        InputError: the file is missing, truncated, no pickle, or asks for anything else.
    """
    try:
        return loads(Path(path).read_bytes(), stand_ins)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {remedy}") from error
    except Exception as error:  # a broken or hostile pickle can fail in any way
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{path}: not readable as a pickle of ours ({reason}); {remedy}"
        ) from error


class PlainDict(dict):
    """Stand-in for `OrderedDict` and its like; attributes that it was pickled with are dropped."""

    def __init__(self, items: Iterable = ()) -> None:
        items = list(items.items() if isinstance(items, Mapping) else items)
        check_keys(key for key, _ in items)
        super().__init__(items)

    def __setstate__(self, state: object) -> None:
        pass


class PickledDtype:
    """Stand-in for `numpy.dtype`: little-endian numbers and truth values."""

    def __init__(self, code: object = None, *_: object) -> None:
        if code not in NUMBERS:
            raise ValueError(f"arrays of {code!r:.20} are refused")
        self.code = code

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise ValueError("an array's numbers are not little-endian")

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return int(self.code[1])


class PickledArray:
    """Stand-in for an array while it is read; `array` is the array, which cannot be written to."""

    array: np.ndarray

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        import numpy as np

        _, shape, dtype, column_major, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(dtype, PickledDtype) or not isinstance(content, bytes):
            raise ValueError("an array holds something else than numbers")
        if not isinstance(shape, tuple) or len(shape) > MOST_DIMENSIONS:
            raise ValueError("an array has an impossible shape")
        if not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("an array has an impossible shape")
        if math.prod(shape) * dtype.size != len(content):
            raise ValueError("an array has more or fewer numbers than its shape says")
        flat = np.frombuffer(content, f"<{dtype.code}")
        self.array = flat.reshape(shape, order="F" if column_major else "C")


def pickled_number(dtype: object = None, content: object = None) -> float | int | bool:
    """Stand-in for `numpy.core.multiarray.scalar`."""
    array = PickledArray()
    array.__setstate__((1, (1,), dtype, False, content))
    return array.array[0].item()


def encode(text: object = None, *_: object) -> bytes:
    """Stand-in for `_codecs.encode`, by which old pickles hold bytes."""
    if not isinstance(text, str):
        raise ValueError("damaged bytes")
    return text.encode("latin1")


def _no_bytes(*_: object) -> bytes:
    """Stand-in for `bytes`, which old pickles call without anything for none."""
    return b""


# What pickled arrays ask for: before and since NumPy 2, and from Python 2.
ARRAY_STAND_INS: StandIns = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): PickledDtype,
    ("collections", "OrderedDict"): PlainDict,
    ("_codecs", "encode"): encode,
    ("__builtin__", "bytes"): _no_bytes,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", PickledArray), ("scalar", pickled_number))
    },
}


def _tensor(*_: object) -> None:
    """Stand-in for what makes a tensor out of a storage and its shape."""


STORAGES = "Double Float Half BFloat16 Long Int Short Char Byte Bool".split()
TENSOR_STAND_INS: StandIns = {
    **ARRAY_STAND_INS,
    ("collections", "Counter"): PlainDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _tensor,
    **{("torch", f"{name}Storage"): None for name in STORAGES},
}


def check_tensor_pickle(content: bytes) -> None:
    """Check the pickle in torch's zip file, which torch's own restricted reader is then given.

    Raises:
        Exception: of any kind, where it holds something else than plain data, arrays and tensors.
    """
    loads(content, TENSOR_STAND_INS, persistent=lambda _pid: None)
