"""Check the installation: a first thing to run when in doubt, and what `install_libs.sh` asks.

python src/check_install.py            # use every library once, print one line
python src/check_install.py once       # the same, unless it passed and nothing has changed since
python src/check_install.py missing    # list what differs from requirements.txt
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import sysconfig
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from utils.options import script_parser
from utils.script import InputError, quiet_libraries, run_script

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
MODULES = (
    "torch torchvision cv2 mmcv mmdet catboost numpy scipy pandas skimage pycocotools.mask "
    "tifffile imagecodecs roifile matplotlib tensorboard tqdm"
).split()
REMEDIES = {
    "cv2": "where a system library is missing: apt-get install libgl1 libglib2.0-0 libxcb1",
    # a CPU build beside a CUDA build, for example, has the right version and does not load
    "torch": "pip uninstall -y torch torchvision, then bash install_libs.sh",
    "torchvision": "pip uninstall -y torch torchvision, then bash install_libs.sh",
}


def parse_args() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("step", nargs="?", default="all", choices=("all", "once", "missing"))
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if args.step == "missing":
        for pin in missing_pins():
            print(pin)
    elif args.step == "once" and passed_before():
        print("OK: everything is installed; python src/check_install.py tries it out again")
    else:
        checked = fingerprint()  # now: what is imported may add folders of its own to the path
        print(self_check())
        with suppress(OSError):  # an environment that this user may not write to
            mark_path().write_text(checked)


def missing_pins() -> list[str]:
    """Pins of requirements.txt that are not installed as they stand there."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = [pin for line in lines if (pin := line.partition("#")[0].strip())]
    return [pin for pin in pins if installed_version(pin.split("==")[0]) != pin.split("==")[1]]


def installed_version(name: str) -> str | None:
    """Version without a local part such as +cpu, or None."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def mark_path() -> Path:
    """Where the fingerprint of the last environment that passed is kept: in the environment."""
    return Path(sysconfig.get_path("purelib")) / "cell_instance_segmentation_checked.txt"


def fingerprint() -> str:
    """Python and every distribution with its version, a line each."""
    found = {f"{dist.name} {dist.version}" for dist in metadata.distributions()}
    return "\n".join([sys.version, *sorted(found)])


def passed_before() -> bool:
    """Whether this environment has passed the check as it is now."""
    with suppress(OSError):
        return mark_path().read_text() == fingerprint()
    return False


def self_check() -> str:
    """Import everything and use mmcv's operators; returns one line that says what works.

    Raises:
        InputError: something does not work, with the remedy.
    """
    quiet_libraries()
    if installed_version("mmcv"):
        raise InputError(
            "mmcv is installed beside mmcv-full, and they share a folder; "
            "pip uninstall -y mmcv mmcv-full, then bash install_libs.sh"
        )
    try:
        importlib.import_module("network.operators")  # before mmdet
    except ImportError:
        pass  # the loop below says which library it is
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken library raises whatever it likes
            remedy = REMEDIES.get(name, "run bash install_libs.sh")
            raise InputError(f"{name} cannot be imported ({error}); {remedy}") from error
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        try:
            check_operators(device)
        except Exception as error:
            raise InputError(f"mmcv.ops on {device}: {error}; {REMEDIES['torch']}") from error
    names = ("torch", "torchvision", "mmcv-full", "mmdet", "numpy", "opencv-python")
    versions = ", ".join(f"{name} {installed_version(name)}" for name in names)
    python = ".".join(map(str, sys.version_info[:3]))
    works = f"mmcv's operators work on {' and '.join(devices)} ({describe_gpu()})"
    return f"OK: Python {python}, {versions}; {works}"


def check_operators(device: str) -> None:
    """Run NMS, RoIAlign and deformable convolution on cases with known answers.

    Raises:
        RuntimeError: an answer is wrong. Importing or running may raise anything.
    """
    import torch
    from mmcv.ops import modulated_deform_conv2d, nms, roi_align

    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30.0]], device=device)
    scores = torch.tensor([0.9, 0.8, 0.7], device=device)
    _, kept = nms(boxes, scores, 0.5)
    ramp = torch.arange(8.0, device=device).expand(1, 1, 8, 8).contiguous()
    roi = torch.tensor([[0, 2.0, 2.0, 6.0, 6.0]], device=device)
    pooled = roi_align(ramp, roi, (1, 1), 1.0, 1, "avg", True)
    one = torch.ones(1, 1, 8, 8, device=device)
    moved = modulated_deform_conv2d(ramp, torch.cat([0 * one, 0.5 * one], 1), one, one[..., :1, :1])
    right = (
        kept.tolist() == [0, 2],
        abs(pooled.item() - 3.5) < 1e-5,
        abs(moved[0, 0, 4, 2].item() - 2.5) < 1e-5,
    )
    if not all(right):
        raise RuntimeError("NMS, RoIAlign or deformable convolution give wrong answers")


def describe_gpu() -> str:
    """Name of the GPU that torch uses; otherwise why there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if not shutil.which("nvidia-smi"):
        return "no GPU"
    if torch.version.cuda is None:
        return "no GPU is used: this torch is a CPU build"
    return f"no GPU is used: its driver does not serve CUDA {torch.version.cuda}"


if __name__ == "__main__":
    run_script(main, parse_args())
