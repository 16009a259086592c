"""Check the installation: what `install_libs.sh` asks, and a first thing to run when in doubt.

python src/check_install.py            # use every library once, print one line
python src/check_install.py packages   # exit 1 and list what differs from requirements.txt
python src/check_install.py mmcv       # exit 1 unless mmcv-full fits the installed torch
python src/check_install.py stamp      # remember which torch mmcv-full was compiled against
"""

from __future__ import annotations

import argparse
import importlib
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from utils.options import script_parser
from utils.script import InputError, quiet_libraries, run_script

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
MODULES = (
    "torch torchvision mmcv mmdet cv2 catboost numpy scipy pandas skimage pycocotools.mask "
    "tifffile imagecodecs roifile matplotlib tensorboard tqdm"
).split()


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    steps = ("packages", "mmcv", "stamp", "all")
    parser.add_argument("step", nargs="?", default="all", choices=steps)
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    if args.step == "packages":
        unmet = unmet_requirements()
        print("\n".join(unmet), end="\n" if unmet else "")
        return 1 if unmet else 0
    if args.step == "mmcv":
        return 0 if mmcv_fits() else 1
    if args.step == "stamp":
        stamp_path().write_text(build_tag())
        return 0
    print(self_check())
    return 0


def unmet_requirements() -> list[str]:
    """Pins of requirements.txt that are not installed as they stand there, mmcv-full aside."""
    unmet = []
    for line in REQUIREMENTS.read_text().splitlines():
        pin = line.split("#")[0].strip()
        name, _, version = pin.partition("==")
        if pin and name != "mmcv-full" and installed_version(name) != version:
            unmet.append(pin)
    return unmet


def installed_version(name: str) -> str | None:
    """Version without a local part such as +cpu, or None."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def build_tag() -> str:
    """What compiled operators depend on: torch's version and whether they include a GPU's."""
    import torch

    return f"torch {torch.__version__}, CUDA operators: {torch.cuda.is_available()}"


def stamp_path() -> Path:
    """Where the tag of the last compilation is kept: beside the compiled library."""
    return Path(sysconfig.get_path("platlib")) / "mmcv" / "compiled_against.txt"


def mmcv_fits() -> bool:
    """Whether mmcv-full is there, compiled for this torch and hardware, and loads."""
    stamp = stamp_path()
    if installed_version("mmcv-full") is None:
        return False
    if stamp.is_file() and stamp.read_text() != build_tag():
        return False
    quiet_libraries()
    try:
        check_operators("cpu")
        if "True" in build_tag():
            check_operators("cuda")
    except Exception:  # an undefined symbol, a missing operator, a GPU that was not compiled for
        return False
    return True


def check_operators(device: str) -> None:
    """Run mmcv's compiled NMS and RoIAlign on a case with a known answer.

    Raises:
        RuntimeError: an answer is wrong. Importing or running may raise anything.
    """
    import torch
    from mmcv.ops import nms, roi_align

    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30.0]], device=device)
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    _, kept = nms(boxes, scores, 0.5)
    ramp = torch.arange(8.0, device=device).expand(1, 1, 8, 8).contiguous()
    roi = torch.tensor([[0, 2.0, 2.0, 6.0, 6.0]], device=device)
    pooled = roi_align(ramp, roi, (1, 1), 1.0, 1, "avg", True)
    if kept.tolist() != [0, 2] or abs(pooled.item() - 3.5) > 1e-5:
        raise RuntimeError(f"mmcv.ops give wrong answers on {device}")


def self_check() -> str:
    """Import everything and use the compiled operators; returns one line that says what works.

    Raises:
        InputError: something does not work, with the remedy.
    """
    quiet_libraries()
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken library raises whatever it likes
            hint = "; install libgl1 and libglib2.0-0" if name == "cv2" else ""
            raise InputError(
                f"{name} cannot be imported ({error}){hint}; run bash install_libs.sh"
            ) from error
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        try:
            check_operators(device)
        except Exception as error:
            raise InputError(f"mmcv.ops on {device}: {error}; run bash install_libs.sh") from error
    names = ("torch", "mmcv-full", "mmdet", "numpy", "opencv-python")
    versions = ", ".join(f"{name} {installed_version(name)}" for name in names)
    gpu = torch.cuda.get_device_name() if len(devices) > 1 else "no GPU"
    python = ".".join(map(str, sys.version_info[:3]))
    works = f"nms and roi_align work on {', '.join(devices)} ({gpu})"
    return f"OK: Python {python}, {versions}; {works}"


if __name__ == "__main__":
    run_script(main, parse_args())
