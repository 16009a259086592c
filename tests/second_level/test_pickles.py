"""Hostile and broken pickles, of models and of predictions, are refused."""

from __future__ import annotations

import os
import pickle

import catboost
import pytest

from second_level.model import load_model
from second_level.predictions import (
    read_predictions,
)
from utils.script import InputError


class Hostile:
    """Pickles to a call of `function`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def nested_getattr() -> Hostile:
    """getattr(getattr(CatBoostRegressor, "__init__"), "__globals__"), then a call."""
    inner = Hostile(getattr, catboost.CatBoostRegressor, "__init__")
    return Hostile(getattr, inner, "__globals__")


def dotted_name() -> bytes:
    """The protocol's own attribute access: CatBoostRegressor.__init__.__globals__."""
    module, name = b"catboost.core", b"CatBoostRegressor.__init__.__globals__"
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, name))
    return b"\x80\x04" + texts + b"\x93."


HOSTILE = {
    "os.system": lambda proof: pickle.dumps(Hostile(os.system, f"touch {proof}")),
    "eval": lambda proof: pickle.dumps(Hostile(eval, f"open({str(proof)!r}, 'w')")),
    "nested getattr": lambda proof: pickle.dumps(nested_getattr()),
    "dotted name": lambda proof: dotted_name(),
    "swapped class": lambda proof: pickle.dumps(catboost.CatBoostClassifier()),
    "other content": lambda proof: pickle.dumps([1, 2, 3]),
    "not fitted": lambda proof: pickle.dumps(catboost.CatBoostRegressor()),
    "hidden in a dict": lambda proof: pickle.dumps({"image_id": Hostile(os.remove, "x")}),
    "empty": lambda proof: b"",
    "no pickle": lambda proof: b"PK\x03\x04 something else",
}


@pytest.mark.parametrize("read", [load_model, read_predictions])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_broken_pickles_are_refused(kind, read, tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "file.pkl"
    path.write_bytes(HOSTILE[kind](proof))
    with pytest.raises(InputError, match="file.pkl"):
        read(path)
    assert not proof.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(model_dir, folder, share, tmp_path):
    for source, read in (
        (model_dir / "catboost.pkl", load_model),
        (next((folder / "pickles").glob("*.pkl")), read_predictions),
    ):
        content = source.read_bytes()
        path = tmp_path / source.name
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=source.name):
            read(path)
