"""Outputs that cannot be written are noticed before inputs are read or models are loaded."""

from __future__ import annotations

import pytest
from helpers import assert_one_line_error

DATA = "--image_dir nowhere --annotation_dir nowhere"
# the inputs are missing, too, and would be complained of if they were looked at first
COMMANDS = [
    "infer_cis.py --image demo_images --weights nowhere.pth --out_dir OUT",
    f"train_cis.py {DATA} --batch_size 1 --load_from nowhere.pth --out_dir OUT",
    f"evaluate_single_model.py {DATA} --weight nowhere.pth --out_dir OUT",
    f"evaluate_single_model.py {DATA} --weight nowhere.pth --show_dir OUT",
    f"evaluate_single_model.py {DATA} --weight nowhere.pth --out OUT/x.json",
    f"evaluate_ensemble.py {DATA} --predictions nowhere.json --out_dir OUT",
    f"prepare_for_2nd_level_model.py {DATA} --weights nowhere.pth --out_dir OUT",
    f"train_2nd_level_catboost.py {DATA} --data_dir nowhere --out_dir OUT",
    f"make_pseudo_labels.py {DATA} --weights nowhere.pth --out_dir OUT",
    f"make_pseudo_labels.py {DATA} --weights nowhere.pth --out_dir new --show_dir OUT",
    "simulate_cells.py --layouts nowhere.json --out_dir OUT",
    "import_annotations.py --image_dir nowhere --labels nowhere --out OUT",
    "publish_model.py --input nowhere.pth --output OUT/x.pth",
    "convert_detectron2.py --input nowhere.pth --output OUT/x.pth",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_written_to(run, tmp_path, command):
    (tmp_path / "file").write_text("before")
    out = tmp_path / "file" / "results"
    script, *words = command.split()
    flag = words[[word.startswith("OUT") for word in words].index(True) - 1]
    done = run(script, *(word.replace("OUT", str(out)) for word in words))
    assert_one_line_error(done, flag, f"{out}: cannot be written to", "choose another folder")
    assert (tmp_path / "file").read_text() == "before"
