"""The 2nd-level model of a pair of models is known by their content, wherever they lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import assert_one_line_error

from second_level.pairing import find_second_level, hash_weights, pairing_file, write_pairing
from utils.paths import BUNDLED_MODELS, BUNDLED_SECOND_LEVEL, in_repository
from utils.script import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.pth", "b.pth", "catboost.pkl", "other.cbm"):
        (tmp_path / name).write_text(name)
    return tmp_path


def hashes(folder, *names):
    return hash_weights([str(folder / name) for name in names])


def test_found_by_the_content_of_all_models(folder):
    write_pairing(folder / "catboost.pkl", hashes(folder, "a.pth", "b.pth"))
    write_pairing(folder / "other.cbm", hashes(folder, "b.pth"))
    (folder / "my models").mkdir()
    (folder / "my models" / "copy of a.pth").write_text("a.pth")
    found = hashes(folder, "b.pth", "my models/copy of a.pth")  # in any order
    assert find_second_level(found, folder) == str(folder / "catboost.pkl")
    assert find_second_level(hashes(folder, "b.pth"), folder) == str(folder / "other.cbm")
    assert find_second_level(hashes(folder, "a.pth"), folder) is None
    assert find_second_level(hashes(folder, "a.pth", "a.pth"), folder) is None


def test_another_model_than_the_noted_one_is_not_used(folder, capsys):
    write_pairing(folder / "catboost.pkl", hashes(folder, "a.pth"))
    (folder / "catboost.pkl").write_text("trained anew with other models")
    assert find_second_level(hashes(folder, "a.pth"), folder) is None
    assert "catboost.json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_sha256": 1, "weights_sha256": 3}'])
def test_other_json_files_do_not_disturb(folder, text):
    (folder / "a_report.json").write_text(text)
    write_pairing(folder / "catboost.pkl", hashes(folder, "a.pth"))
    assert find_second_level(hashes(folder, "a.pth"), folder) == str(folder / "catboost.pkl")


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.pth"):
        hash_weights([str(tmp_path / "nowhere.pth")])


def test_the_bundled_one_belongs_to_the_bundled_models():
    found = find_second_level(hash_weights([in_repository(path) for path in BUNDLED_MODELS]))
    assert found == in_repository(BUNDLED_SECOND_LEVEL)


def test_script(start, run, folder):
    bundled = Path(in_repository(BUNDLED_SECOND_LEVEL))
    (folder / "catboost.pkl").write_bytes(bundled.read_bytes())
    options = ("--weights", folder / "a.pth", "--2nd_level_model", folder / "catboost.pkl")
    assert_one_line_error(run("pair_2nd_level.py", *options), "features.csv")
    (folder / "features.csv").write_bytes(bundled.with_name("features.csv").read_bytes())
    done = start("pair_2nd_level.py", *options)
    assert done.returncode == 0, done.stderr
    assert find_second_level(hashes(folder, "a.pth"), folder) == str(folder / "catboost.pkl")
    content = json.loads(pairing_file(folder / "catboost.pkl").read_text())
    assert content["weights_sha256"] == hashes(folder, "a.pth")
    (folder / "notes.pkl").write_text("no model")
    for name, text in (("no.pkl", "no .pkl"), ("a.pth", "no .pkl"), ("notes.pkl", "notes.pkl")):
        done = run("pair_2nd_level.py", *options[:-1], folder / name)
        assert_one_line_error(done, name, text)
        assert not pairing_file(folder / name).exists()
