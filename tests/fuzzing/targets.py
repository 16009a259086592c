"""What is damaged, and the command that is then given it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing.harness import script
from fuzzing.mutations import Damage, damage_bytes, damage_json, damage_table
from fuzzing.structures import (
    damage_checkpoint,
    damage_image,
    damage_predictions,
    damage_regressor,
    damage_weights_file,
    damage_weights_pickle,
)
from helpers import CONFIGS, ROOT

# in the arguments: SOURCES the folder of valid files, INPUT the damaged one, OUT a folder
DATA = "--image_dir SOURCES/data/images --annotation_dir SOURCES/data/annotations"
MODEL = "--weights SOURCES/model.pth --device cpu"
EVERYTHING = "--save labels masks rois geojson coco csv kaggle"
TRAINING = f"--config {CONFIGS}/tiny_resnest.py --max_iters 2 --workers 0 --precision fp32"
ANNOTATIONS = "data/annotations/annotations_valid_0.json"


@dataclass(frozen=True)
class Target:
    """A kind of input of a script.

    Attributes:
        name: unique.
        source: the valid file, relative to the sources.
        damage: how it is changed.
        action: what is run, from the folders of SOURCES and OUT and the path of INPUT.
        replaces: put the damaged file into a copy of the folder that `source` lies in, under its
            own name; INPUT is then that folder.
        valid: the undamaged file is accepted.
        often: how often its turn comes, relative to the others; a training takes seconds.
    """

    name: str
    source: str
    damage: Damage
    action: Callable[[Path, Path, Path], Callable[[], object]]
    replaces: bool = False
    valid: bool = True
    often: int = 4


def command(name: str, arguments: str) -> Callable[[Path, Path, Path], Callable[[], object]]:
    """An action that runs a script of src/."""

    def fill(sources: Path, damaged: Path, out: Path) -> Callable[[], object]:
        places = {"SOURCES": sources, "INPUT": damaged, "OUT": out}
        words = arguments.split()
        for word, place in places.items():
            words = [text.replace(word, str(place)) for text in words]
        return script(ROOT / "src" / name, words)

    return fill


def function(run: Callable[[Path, Path], object]) -> Callable[[Path, Path, Path], Callable]:
    """An action that calls what a script would call with INPUT and OUT."""

    def fill(_sources: Path, damaged: Path, out: Path) -> Callable[[], object]:
        def action() -> None:
            from utils.script import run_script

            run_script(lambda _args: None if run(damaged, out) else None, Namespace())

        return action

    return fill


def convert(path: Path, _out: Path) -> None:
    """What convert_detectron2.py does with its input, but for building 126 million weights."""
    import torch

    from published.detectron2 import convert_weights, count_classes, read_weights, weight_names

    source = read_weights(path)
    count_classes(source, path)
    target = {new: torch.zeros(4, 8, 1, 1) for _, new in weight_names()}
    convert_weights(source, target, {}, path)


def unpack_archive(path: Path, out: Path) -> None:
    """What download_data.py does with an archive that has come."""
    from published.contents import find_damage, unpack
    from utils.script import InputError

    damage = find_damage(path)
    if damage:
        raise InputError(f"{path}: what came is {damage}; delete it")
    unpack(path, out / "images", "train/*.png")


def read_manifest(path: Path, _out: Path) -> None:
    """What both download scripts read first."""
    from published.downloads import Manifest

    Manifest(path)


def how_often(name: str) -> int:
    """`often` of a script."""
    return 1 if name == "train_cis.py" else 2 if name.startswith("train") else 4


def _targets() -> list[Target]:
    infer = "--out_dir OUT/results " + EVERYTHING
    evaluate = f"{DATA} --out_dir OUT/evaluation --out OUT/found.json --show_dir OUT/pictures"
    train = f"{TRAINING} --out_dir OUT/model"
    fit = "--out_dir OUT/model --iterations 3"
    targets = [
        Target(
            f"infer {suffix}",
            f"image{suffix}",
            damage_image(suffix),
            command("infer_cis.py", f"--image INPUT {MODEL} {infer}"),
        )
        for suffix in (".png", ".jpg", ".bmp", ".tif")
    ]
    checkpoints = {
        "infer weights": (
            "infer_cis.py",
            f"--image SOURCES/image.png --device cpu --weights INPUT {infer}",
        ),
        "evaluate weights": ("evaluate_single_model.py", f"--weight INPUT --device cpu {evaluate}"),
        "publish": ("publish_model.py", "--input INPUT --output OUT/published"),
        "train load_from": ("train_cis.py", f"{DATA} {train} --load_from INPUT"),
    }
    targets += [
        Target(name, "model.pth", damage_checkpoint, command(*run), often=how_often(run[0]))
        for name, run in checkpoints.items()
    ]
    resume = f"{DATA} {train} --resume INPUT"
    action = command("train_cis.py", resume)
    targets.append(Target("resume", "training.pth", damage_checkpoint, action, often=1))
    annotated = "--image_dir SOURCES/data/images --annotation_dir INPUT"
    annotations = {
        "evaluate annotations": (
            "evaluate_ensemble.py",
            f"{annotated} --predictions SOURCES/results.json --out_dir OUT/evaluation",
        ),
        "prepare annotations": (
            "prepare_for_2nd_level_model.py",
            f"{annotated} {MODEL} --out_dir OUT/pickles --skip_invalid",
        ),
        "fit annotations": (
            "train_2nd_level_catboost.py",
            f"{annotated} --data_dir SOURCES/pickles {fit}",
        ),
        "train annotations": ("train_cis.py", f"{annotated} {train}"),
        "pseudo annotations": (
            "make_pseudo_labels.py",
            f"--image_dir SOURCES/data/images/new.png {MODEL} --annotation_dir INPUT "
            "--out_dir OUT/round1 --train_image_dir SOURCES/data/images",
        ),
    }
    targets += [
        Target(
            name, ANNOTATIONS, damage_json, command(*run), replaces=True, often=how_often(run[0])
        )
        for name, run in annotations.items()
    ]
    imported = {
        "import labels": ("valid0_labels.tif", damage_image(".tif"), "labels"),
        "import rois": ("valid0_rois.zip", damage_bytes, "rois"),
        "import geojson": ("valid0.geojson", damage_json, "geojson"),
        "import coco": ("valid0_coco.json", damage_json, "coco"),
    }
    for name, (source, damage, kind) in imported.items():
        options = f"--image_dir SOURCES/data/images --labels INPUT --format {kind} --valid_share 0"
        action = command("import_annotations.py", f"{options} --out OUT/imported")
        targets.append(Target(name, f"cells/{source}", damage, action, replaces=True, often=2))
    results = f"{evaluate} --confidence_search --predictions INPUT"
    labels = f"{evaluate} --predictions INPUT"
    rescored = f"--image SOURCES/image.png {MODEL} {infer}"
    own_list = "--2nd_level_features SOURCES/features.csv"
    images = f"--image_dir INPUT --annotation_dir SOURCES/data/annotations {MODEL}"
    targets += [
        Target(
            "simulate layouts",
            "layouts.json",
            damage_json,
            command(
                "simulate_cells.py", "--layouts INPUT --n_train 1 --n_valid 1 --out_dir OUT/data"
            ),
        ),
        Target("results", "results.json", damage_json, command("evaluate_ensemble.py", results)),
        Target(
            "label tiff",
            "labels/valid0.tif",
            damage_image(".tif"),
            command("evaluate_ensemble.py", labels),
            replaces=True,
        ),
        Target(
            "label png",
            "labels/valid1.png",
            damage_image(".png"),
            command("evaluate_single_model.py", labels),
            replaces=True,
        ),
        Target(
            "images of a data set",
            "data/images/valid0.png",
            damage_image(".png"),
            command("prepare_for_2nd_level_model.py", f"{images} --out_dir OUT/pickles"),
            replaces=True,
        ),
        Target(
            "predictions",
            "pickles/valid0.pkl",
            damage_predictions,
            command("train_2nd_level_catboost.py", f"{DATA} --data_dir INPUT {fit}"),
            replaces=True,
        ),
        Target(
            "2nd level",
            "catboost.pkl",
            damage_regressor,
            command("infer_cis.py", f"{rescored} --2nd_level_model INPUT {own_list}"),
        ),
        Target(
            "features",
            "features.csv",
            damage_table,
            command(
                "infer_cis.py",
                f"{rescored} --2nd_level_model SOURCES/catboost.pkl --2nd_level_features INPUT",
            ),
        ),
        Target(
            "detectron2 arrays",
            "weights.pkl",
            damage_weights_pickle,
            function(convert),
            valid=False,
        ),
        Target(
            "detectron2 tensors", "weights.pth", damage_weights_file, function(convert), valid=False
        ),
        Target("archive", "archive.zip", damage_bytes, function(unpack_archive)),
        Target("manifest", "downloads.json", damage_json, function(read_manifest)),
    ]
    return targets


TARGETS = _targets()
