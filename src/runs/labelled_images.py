"""Images with the cells of their label files, of any format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tqdm import tqdm

from cells.images import image_shape
from cells.imports.coco import read_images
from cells.imports.contents import Contents
from cells.imports.dataset import LabelledImage
from cells.imports.readers import READERS
from runs.label_files import LabelFiles, SourceImage
from utils.script import InputError


@dataclass
class Labelled:
    """What was read.

    Attributes:
        images: in the order of the sources; each cell has a class name.
        class_names: by label.
        problems: a line for each file, image or cell that cannot be used.
    """

    images: list[LabelledImage] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_labelled(
    sources: Sequence[SourceImage], files: LabelFiles, classes: Sequence[str], class_name: str
) -> Labelled:
    """Read the cells of all images.

    Args:
        sources: the images.
        files: where their cells are.
        classes: class names by label; empty: those that occur, COCO's in the order of their ids,
            others by the alphabet.
        class_name: of cells whose file says no class.
    """
    strays = [f"{path}: belongs to no image of --image_dir" for path in files.strays]
    labelled = Labelled([], list(classes), strays)
    contents = _of_collections if files.collections else _of_single_files
    for source, size, found in contents(sources, files, classes, labelled):
        labelled.problems += found.problems
        cells = [cell._replace(class_name=cell.class_name or class_name) for cell in found.cells]
        unknown = {cell.class_name for cell in cells} - {*classes} if classes else ()
        if unknown:
            names = ", ".join(sorted(map(repr, unknown)))
            labelled.problems.append(
                f"{source.file_name}: cells of class {names}, not in --classes (cells without a "
                "class get that of --class_name)"
            )
            cells = [cell for cell in cells if cell.class_name in classes]
        labelled.images.append(LabelledImage(source.name, source.file_name, size, cells))
    occurring = {cell.class_name for image in labelled.images for cell in image.cells}
    labelled.class_names += sorted(occurring - {*labelled.class_names})
    labelled.class_names = labelled.class_names or [class_name]
    return labelled


Read = Iterator[tuple[SourceImage, tuple[int, int], Contents]]


def _of_single_files(
    sources: Sequence[SourceImage], files: LabelFiles, classes: Sequence[str], labelled: Labelled
) -> Read:
    wanted = [source for source in sources if source.file_name in files.of_image]
    for source in tqdm(wanted, desc="reading", leave=False):
        try:
            size = image_shape(source.path)
            found = READERS[files.kind](files.of_image[source.file_name], size, classes)
        except InputError as error:
            labelled.problems.append(str(error))
        else:
            yield source, size, found


def _of_collections(
    sources: Sequence[SourceImage], files: LabelFiles, classes: Sequence[str], labelled: Labelled
) -> Read:
    """Cells of COCO files, whose class names are added in the order of their ids."""
    found_in: dict[str, str] = {}
    order = {source.file_name: i for i, source in enumerate(sources)}
    by_name = {alias: source for source in sources for alias in source.aliases}
    by_name |= {source.file_name: source for source in sources}
    for path in tqdm(files.collections, desc="reading", leave=False):
        try:
            images, names, strays = read_images(path)
        except InputError as error:
            labelled.problems.append(str(error))
            continue
        labelled.problems += strays
        if not classes:
            labelled.class_names += [n for n in names if n not in labelled.class_names]
        for image in images:
            source = _source_of(image.file_name, by_name)
            where = f"{path}: {image.file_name}"
            if source is None:
                labelled.problems.append(f"{where} is no image of --image_dir")
                continue
            if source.file_name in found_in:
                labelled.problems.append(f"{where} is in {found_in[source.file_name]}, too")
                continue
            found_in[source.file_name] = str(path)
            try:
                size = image_shape(source.path)
            except InputError as error:
                labelled.problems.append(str(error))
                continue
            if size != image.image_size:
                shapes = [f"{width} x {height}" for height, width in (size, image.image_size)]
                labelled.problems.append(f"{where}: is {shapes[0]}, recorded as {shapes[1]}")
                continue
            yield source, size, image.contents
    labelled.images.sort(key=lambda image: order[image.file_name])


def _source_of(file_name: str, by_name: Mapping[str, SourceImage]) -> SourceImage | None:
    """The image at this place, or the only one whose file is called so, with suffix or without."""
    place = PurePosixPath(file_name.replace("\\", "/"))
    names = str(place), str(place.parent / place.stem), place.name, place.stem
    return next((by_name[name] for name in names if name in by_name), None)
