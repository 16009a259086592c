"""Which files a run will write, checked before the work starts.

No output may replace an image, or anything else that no run has written, and no two images may
write the same file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cells.exports.formats import FORMATS
from cells.planes import NO_CHOICE, Plane, PlaneChoice
from runs.names import (
    PICTURE_SUFFIXES,
    REPORT,
    RUN,
    SUBMISSION,
    SUMMARY,
    THUMBNAILS,
    picture_name,
    unique_names,
)
from runs.records import written_before
from utils.paths import ImageFile, find_images, listed_folder, printable
from utils.script import InputError


@dataclass(frozen=True)
class PlannedImage:
    """An image with the files that will be written for it.

    Attributes:
        path: its file.
        plane: of the file; None: the only one.
        label: the file, and which of its planes.
        file_name: relative to the folder that was listed, with "/".
        name: stem of the outputs, unique in the run.
        picture: the image with the cells' outlines.
        files: path by format of `--save`.
    """

    path: Path
    plane: Plane | None
    label: str
    file_name: str
    name: str
    picture: Path
    files: dict[str, Path]

    @property
    def outputs(self) -> list[Path]:
        """All files that will be written."""
        return [self.picture, *self.files.values()]


def plan_run(
    patterns: Sequence[str],
    recursive: bool,
    out_dir: Path,
    formats: Sequence[str],
    choice: PlaneChoice = NO_CHOICE,
    report: bool = False,
) -> list[PlannedImage]:
    """List the images, without the results of earlier runs among them, and plan their outputs.

    Args:
        patterns, recursive: see `find_images`.
        out_dir: folder of the outputs; where it lies in a listed folder, it is not listed.
        formats: of `--save`.
        choice: planes of files with several.
        report: there will be a report.

    Raises:
        InputError: no image, or outputs that would replace what no run has written.
    """
    results = out_dir.resolve()
    leave_out = {results / name for name in (*written_before(out_dir), THUMBNAILS)}
    if results not in {listed_folder(pattern).resolve() for pattern in patterns}:
        leave_out.add(results)
    files = find_images(patterns, recursive, leave_out)
    planned = plan_images(files, out_dir, formats, choice)
    check_outputs(planned, out_dir, files_of_run(formats, report))
    return planned


def files_of_run(formats: Sequence[str], report: bool) -> list[str]:
    """Names of the files about the whole run that these options ask for."""
    return [SUMMARY, RUN, *[SUBMISSION] * ("kaggle" in formats), *[REPORT] * report]


def plan_images(
    files: Sequence[ImageFile],
    out_dir: Path,
    formats: Sequence[str],
    choice: PlaneChoice = NO_CHOICE,
) -> list[PlannedImage]:
    """Give every image of the files outputs of its own.

    A name is the image's stem, after the folders below the listed one; where that is taken, the
    suffix of the image and folders above are added until it is not.
    """
    planes = [(file, plane) for file in files for plane in _planes(file.path, choice)]
    images = [replace(file, part=plane.suffix if plane else "") for file, plane in planes]
    return [
        PlannedImage(
            image.path,
            plane,
            f"{printable(image.path)}{image.part}",
            image.relative.as_posix(),
            name,
            out_dir / picture_name(name, image),
            {key: out_dir / f"{name}{FORMATS[key].suffix}" for key in formats},
        )
        for image, (_, plane), name in zip(images, planes, unique_names(images), strict=True)
    ]


def _planes(path: Path, choice: PlaneChoice) -> list[Plane | None]:
    """The wanted planes of a file; one that cannot be read says so when its turn comes."""
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return [None]  # is not opened twice
    from cells.images import find_planes

    try:
        return find_planes(path, choice)
    except Exception:
        return [None]


def check_outputs(
    planned: Sequence[PlannedImage], out_dir: Path, of_run: Sequence[str] = ()
) -> None:
    """Refuse to write over an image, or over any file that no run has written.

    Args:
        planned: of the whole run.
        out_dir: folder of the outputs.
        of_run: names of the files about the whole run.

    Raises:
        InputError: names the first such file and how many there are.
    """
    images = {_identity(image.path) for image in planned}
    outputs = [path for image in planned for path in image.outputs]
    outputs += [out_dir / name for name in of_run]
    there = [path for path in outputs if path.exists()]
    # looked up after the files: another process of the run may be writing some of them
    own = written_before(out_dir) if there else set()
    hit = [path for path in there if _identity(path) in images or path.name not in own]
    if hit:
        raise InputError(
            f"--out_dir {out_dir}: {len(hit)} file(s) that this program did not write would be "
            f"overwritten there, {hit[0].name} the first; choose another folder"
        )


def _identity(path: Path) -> tuple[int, int]:
    """The same for all paths to one file, through links and on file systems that ignore case."""
    status = path.stat()
    return status.st_dev, status.st_ino
