"""Pickles made to do harm, and those that plain data makes."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import time
from collections import OrderedDict

import numpy as np
import pytest

from utils.pickles import ARRAY_STAND_INS, PickledArray, loads, read_pickle
from utils.script import InputError
from utils.trial import survives

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_plain_data(protocol):
    value = {"a": [1, 2.5, None, True, "text", (1, (2,))], 3: {"b": b"\xff\x00"}, "long": 2**70}
    if protocol == 0:
        value[3] = {}
    assert loads(pickle.dumps(value, protocol=protocol), ARRAY_STAND_INS) == value


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("array", [ARRAY, np.asfortranarray(ARRAY), ARRAY[:0], np.array(3, "u1")])
def test_arrays(protocol, array):
    content = pickle.dumps(OrderedDict(x=array, y=np.float64(0.5)), protocol=protocol)
    read = loads(content, ARRAY_STAND_INS)
    assert isinstance(read["x"], PickledArray)
    assert read["x"].array.dtype == array.dtype
    np.testing.assert_array_equal(read["x"].array, array)
    assert read["y"] == 0.5


def test_arrays_of_python_2():
    """Its protocol 2 has texts for bytes, and none of the names that came later."""
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00 \xc0tb."
    )
    np.testing.assert_array_equal(loads(content, ARRAY_STAND_INS).array, [1.0, -2.5])


def array_pickle(
    state: bytes, dtype: bytes = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4\x89\x88tR"
) -> bytes:
    """An array with a state of one's own; `DTYPE` in it stands for a dtype."""
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    return b"\x80\x04" + made + state.replace(b"DTYPE", dtype) + b"b."


DEEP = b"\x85" * 200_000  # a tuple of a tuple of a tuple ...
HOSTILE = {
    "system": b"cos\nsystem\n(S'true'\ntR.",
    "a nested key": b"\x80\x02})" + DEEP + b"K\x01s.",
    "nested keys at once": b"\x80\x02}()" + DEEP + b"K\x01u.",
    "a nested key of dict": b"(" + b")" + DEEP + b"K\x01d.",
    "a nested key of OrderedDict": (
        b"\x80\x02ccollections\nOrderedDict\n(]()" + DEEP + b"K\x01tatR."
    ),
    "a set": b"\x80\x04\x8f.",
    "a frozenset": b"\x80\x04()" + DEEP + b"\x91.",
    "an extension": b"\x80\x02\x82\x01.",
    "an old instance": b"(S'true'\nios\nsystem\n.",
    "a persistent id": b"K\x01Q.",
    "a state for a class": b"\x80\x02cnumpy\ndtype\n}b.",
    "a state for a dict": b"\x80\x02}}b.",
    "a state for nothing": b"\x80\x02N}b.",
    "attributes of a function": b"\x80\x02c_codecs\nencode\n(N}X\x01\x00\x00\x00aK\x01stb.",
    "a long text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "a long frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"x.",
    "a large shape": array_pickle(b"(K\x01J\xff\xff\xff\x7f\x85DTYPE\x89C\x04abcdt"),
    "a negative shape": array_pickle(b"(K\x01J\xff\xff\xff\xff\x85DTYPE\x89C\x04abcdt"),
    "a shape of texts": array_pickle(b"(K\x01X\x01\x00\x00\x00a\x85DTYPE\x89C\x04abcdt"),
    "many dimensions": array_pickle(b"(K\x01(" + b"K\x01" * 70 + b"tDTYPE\x89C\x04abcdt"),
    "no dtype": array_pickle(b"(K\x01K\x01\x85N\x89C\x04abcdt"),
    "no content": array_pickle(b"(K\x01K\x01\x85DTYPE\x89Nt"),
    "no state": array_pickle(b"N"),
    "objects": array_pickle(b"N", b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8\x89\x88tR"),
    "a scalar of nothing": b"\x80\x02cnumpy.core.multiarray\nscalar\n(NNtR.",
    "an empty scalar": b"\x80\x02cnumpy.core.multiarray\nscalar\n)R.",
    "an empty file": b"",
    "no pickle": b"hello",
    "no end": b"\x80\x02}",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_end_with_a_message(content, tmp_path):
    (tmp_path / "x.pkl").write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"x\.pkl.*write it anew"):
        read_pickle(tmp_path / "x.pkl", ARRAY_STAND_INS, "write it anew")
    assert time.perf_counter() - start < 60  # seconds: neither a hang nor gigabytes


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([b"x"]), np.array([{}]), ARRAY.astype(">f4")]
)
def test_arrays_of_other_things_than_numbers_are_refused(array):
    with pytest.raises(ValueError, match="array"):
        loads(pickle.dumps(array, protocol=4), ARRAY_STAND_INS)


def test_the_depth_is_one_that_crashes_python():
    nested = loads(b"\x80\x02)" + DEEP + b".", {})
    assert not survives(lambda: hash(nested))


def test_a_number_far_away_takes_no_memory():
    """The C unpickler makes a table of 16 GB for it."""
    assert loads(b"\x80\x02K\x07r\xff\xff\xff\x7f.", {}) == 7


def test_what_survives():
    assert survives(lambda: None)
    assert survives(lambda: 1 / 0)
    assert not survives(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert not survives(lambda: time.sleep(60), seconds=1)
