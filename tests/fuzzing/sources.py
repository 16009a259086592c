"""Valid files of every kind that the scripts read, small and quick to work on."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch
from fuzzing.harness import run_copy, script
from fuzzing.structures import saved, tiff_bytes
from fuzzing.targets import TRAINING
from helpers import CLASS_NAMES, ROOT, write_shapes
from second_level_data import truth_of, write_all
from untrained import write_untrained

from network.checkpoints import load_checkpoint


def write_sources(folder: Path) -> Path:
    """Fill a new folder; the names are those that targets.py uses."""
    data = write_shapes(folder / "data", 2, 2)
    image = cv2.imread(str(data / "images/valid0.png"))[:64, :80]
    (data / "images/new.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    for suffix in (".png", ".jpg", ".bmp"):
        (folder / f"image{suffix}").write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    (folder / "image.tif").write_bytes(tiff_bytes(image[:, :, 0].astype(np.uint16) * 100))
    logging.getLogger("mmcv").setLevel(logging.WARNING)  # every parameter is a line of its
    checkpoint = load_checkpoint(write_untrained(folder / "model.pth"))
    weights = checkpoint["state_dict"]
    layouts = json.loads((data / "annotations/annotations_valid_0.json").read_text())
    layouts["categories"] = [{"id": 10, "name": "cort"}]
    layouts["annotations"] = [row for row in layouts["annotations"] if row["category_id"] == 10]
    (folder / "layouts.json").write_text(json.dumps(layouts), encoding="utf-8")
    write_training_state(folder / "training.pth", data)
    write_exports(folder / "cells", data, folder / "model.pth")
    arrays = {name: value.numpy() for name, value in list(weights.items())[:12]}
    classifier = np.zeros((4, 8), np.float32)
    arrays["roi_heads.box_predictor.0.cls_score.weight"] = classifier
    (folder / "weights.pkl").write_bytes(pickle.dumps({"model": arrays}, protocol=4))
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    (folder / "weights.pth").write_bytes(saved({"model": tensors}))
    write_all(truth_of(data), folder / "pickles")
    write_results(folder / "results.json", data)
    write_labels(folder / "labels", data)
    for name in ("catboost.pkl", "features.csv"):
        shutil.copy(ROOT / "2nd_level_model" / name, folder / name)
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train/a.png", "train/b.png"):
            archive.write(folder / "image.png", f"top/{name}")
    (folder / "downloads.json").write_text(json.dumps({"a.zip": "0" * 64}), encoding="utf-8")
    return folder


def write_training_state(path: Path, data: Path) -> None:
    """The checkpoint that a training of the options `TRAINING` leaves."""
    out = path.with_suffix("")
    options = f"--image_dir {data}/images --annotation_dir {data}/annotations --out_dir {out} "
    train = script(ROOT / "src/train_cis.py", (options + TRAINING).split())
    outcome = run_copy(train, path.with_suffix(".txt"))
    assert outcome.code == 0, outcome.stderr
    (out / "latest.pth").rename(path)
    shutil.rmtree(out)


def write_exports(folder: Path, data: Path, model: Path) -> None:
    """What infer_cis.py saves of one image, for import_annotations.py."""
    options = f"--image {data}/images/valid0.png --weights {model} --device cpu --out_dir {folder}"
    infer = script(ROOT / "src/infer_cis.py", f"{options} --save labels rois geojson coco".split())
    outcome = run_copy(infer, folder.with_suffix(".txt"))
    assert outcome.code == 0, outcome.stderr


def write_results(path: Path, data: Path) -> None:
    """The true cells of `data` as COCO results."""
    rows = []
    for record in truth_of(data).images:
        for label, rle in zip(record.labels.tolist(), record.rles, strict=True):
            rows.append(
                {
                    "image_id": record.id,
                    "category_id": 10 * (label + 1),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "bbox": [1.0, 2.0, 20.0, 20.0],
                    "score": 0.5,
                }
            )
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_labels(folder: Path, data: Path) -> None:
    """The true cells as label images, one in each format."""
    folder.mkdir()
    for record, suffix in zip(truth_of(data).images, (".tif", ".png"), strict=True):
        labels = np.zeros(record.image_size, np.uint8)
        for i in range(len(record.rles)):
            x1, y1, x2, y2 = record.boxes[i].astype(int)
            labels[y1:y2, x1:x2] = i + 1
        path = folder / f"{record.id}{suffix}"
        path.write_bytes(
            tiff_bytes(labels) if suffix == ".tif" else cv2.imencode(suffix, labels)[1].tobytes()
        )


assert CLASS_NAMES == ("disc", "box", "bar")  # what catboost.pkl and write_results count on
