"""The notebook, executed as it is but for where it writes and which image is the user's own."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import cv2
import pytest
from helpers import ROOT

from check_install import missing_pins

NOTEBOOK = ROOT / "notebooks" / "quick_demo.ipynb"


def test_outputs_are_cleared():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None, cell["source"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The executed notebook and the folder of its results."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if missing_pins():
        pytest.skip("differs from requirements.txt: the notebook would install it")
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    own = folder / "my cells.jpg"
    image = cv2.imread(str(ROOT / "demo_images" / "simulated_shsy5y.png"))
    cv2.imwrite(str(own), image[100:300, 100:300])
    values = {"RESULTS": f'Path("{folder / "results"}")', "MY_IMAGE": f'"{own}"'}
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for name, value in values.items():
        set_value(notebook, name, value)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    client = nbclient.NotebookClient(notebook, timeout=None, kernel_name="python3", resources=where)
    return client.execute(), folder / "results"


def set_value(notebook, name: str, value: str) -> None:
    """Give a variable, which is set once at the beginning of a line, another value."""
    pattern = re.compile(rf"^{name} = .*$", re.MULTILINE)
    (cell,) = (cell for cell in notebook.cells if pattern.search(cell.source))
    cell.source = pattern.sub(lambda _: f"{name} = {value}", cell.source)


def cells_found(folder: Path) -> int:
    (table,) = (path for path in folder.glob("*.csv") if path.name != "summary.csv")
    return len(table.read_text().splitlines()) - 1


def test_it_runs(executed):
    notebook, results = executed
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [kind for output in outputs for kind in output.get("data", ()) if "image/" in kind]
    assert shown == ["image/png", "image/jpeg", "image/jpeg"]
    assert cells_found(results / "demo") > 20
    assert cells_found(results / "threshold") > cells_found(results / "mine") > 0
    with zipfile.ZipFile(results.with_suffix(".zip")) as archive:
        rois = sorted(name for name in archive.namelist() if name.endswith("_rois.zip"))
    assert rois == [
        "demo/simulated_cort_rois.zip",
        "mine/my cells_rois.zip",
        "threshold/my cells_rois.zip",
    ]
