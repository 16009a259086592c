"""Files with corrected cells, found by the names that a run gives to its results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cells.imports.formats import BARE_LABELS, ENDINGS
from runs.names import RUN, unique_names
from runs.records import FOLDER, written_before
from utils.paths import ImageFile, find_images
from utils.script import InputError


@dataclass(frozen=True)
class SourceImage:
    """An image that may have cells.

    Attributes:
        path: its file.
        file_name: relative to the folder of the images, with "/".
        name: stem of its results in a run over the folder.
        aliases: what its files may be called before their ending: `name`, and the place, the stem
            and the name of the image's file, as far as no other image is called so.
    """

    path: Path
    file_name: str
    name: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class LabelFiles:
    """What was found.

    Attributes:
        kind: the format, a key of `ENDINGS`.
        of_image: file of each image, by `file_name`; COCO files name their images themselves.
        strays: files of the format that belong to no image.
        collections: COCO files.
    """

    kind: str
    of_image: dict[str, Path]
    strays: list[Path]
    collections: list[Path]


def list_sources(image_dir: Path, labels: Path) -> list[SourceImage]:
    """The images of a folder and of the folders in it, without the label files among them.

    Raises:
        InputError: there is no image.
    """
    folder = (labels if labels.is_dir() else labels.parent).resolve()
    results = written_before(folder)
    leave_out = {folder / name for name in results}
    if not image_dir.is_dir():
        raise InputError(f"--image_dir {image_dir}: no such folder; give the folder of the images")
    inside = folder != image_dir.resolve() and folder.is_relative_to(image_dir.resolve())
    if inside and results:
        leave_out.add(folder)
    found = find_images([str(image_dir)], True, leave_out, flag="--image_dir")
    images = _without_labels(found)
    if inside and labels.is_dir():
        images = [i for i in images if not _is_in(i.path, folder) or _has_labels_beside(i.path)]
    names = unique_names(images)
    called = [(_place(image), image.stem, image.path.name) for image in images]
    counts = Counter(alias for aliases in called for alias in {*aliases})
    counts.update(names)
    return [
        SourceImage(
            image.path,
            image.relative.as_posix(),
            name,
            tuple(dict.fromkeys([name, *(a for a in aliases if a == name or counts[a] == 1)])),
        )
        for image, name, aliases in zip(images, names, called, strict=True)
    ]


def _place(image: ImageFile) -> str:
    """Folder and stem, relative to the folder of the images."""
    return image.relative.with_suffix("").as_posix()


def _without_labels(images: Sequence[ImageFile]) -> list[ImageFile]:
    """Leave out what is called as a label image of another image beside it."""
    stems = {image.path.with_suffix("") for image in images}
    endings = [ending for kind in ("labels", "masks") for ending in ENDINGS[kind]]

    def is_label(path: Path) -> bool:
        return any(
            path.name.endswith(ending) and path.parent / path.name.removesuffix(ending) in stems
            for ending in endings
        )

    return [image for image in images if not is_label(image.path)]


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _has_labels_beside(path: Path) -> bool:
    endings = [ending for endings in ENDINGS.values() for ending in endings]
    return any((path.parent / f"{path.stem}{ending}").is_file() for ending in endings)


def find_label_files(
    labels: Path, images: Sequence[SourceImage], image_dir: Path, kind: str | None
) -> LabelFiles:
    """Find the files with the images' cells.

    Args:
        labels: their folder (with the folders in it), or one file.
        images: of `list_sources`.
        image_dir: the images' folder; label images in it need an ending of `ENDINGS`.
        kind: the format, where it is known.

    Raises:
        InputError: no file, or files of several formats and no `kind`.
    """
    if not labels.exists():
        raise InputError(f"--labels {labels}: no such file or folder; check the path")
    root = labels if labels.is_dir() else labels.parent
    files = _files(labels, root, images)
    owner = {alias: image.file_name for image in images for alias in image.aliases}
    found = {
        key: part
        for key in ([kind] if kind else ENDINGS)
        if (part := _of_kind(key, ENDINGS[key], files, owner))
    }
    if not found and kind in (None, "labels") and root.resolve() != image_dir.resolve():
        bare = _of_kind("labels", BARE_LABELS, files, owner)
        found = {"labels": bare} if bare else {}
    if not found:
        first = [ENDINGS[key][0] for key in ([kind] if kind else ENDINGS)]
        raise InputError(
            f"--labels {labels}: no file that belongs to an image of --image_dir; expected "
            f"<image name>{'|'.join(first)}"
        )
    if len(found) > 1:
        raise InputError(
            f"--labels {labels}: has files of several formats; choose one: --format "
            f"{' or '.join(found)}"
        )
    return next(iter(found.values()))


def _files(labels: Path, root: Path, images: Sequence[SourceImage]) -> dict[str, Path]:
    """All files by their place in the folder, without the images and a run's own notes."""
    sources = {image.path.resolve() for image in images}
    paths = sorted(labels.rglob("*")) if labels.is_dir() else [labels]
    places = {path.relative_to(root).as_posix(): path for path in paths if path.is_file()}
    return {
        place: path
        for place, path in places.items()
        if not path.name.startswith(".")
        and path.name != RUN
        and FOLDER not in Path(place).parts[:-1]
        and path.resolve() not in sources
    }


def _of_kind(
    kind: str, endings: Sequence[str], files: dict[str, Path], owner: dict[str, str]
) -> LabelFiles | None:
    """The files of one format, or None where there is none.

    Raises:
        InputError: an image has several.
    """
    matching = {place: stems for place in files if (stems := list(_before_ending(place, endings)))}
    if kind == "coco":
        paths = [files[place] for place in matching]
        return LabelFiles(kind, {}, [], paths) if paths else None
    of_image: dict[str, Path] = {}
    strays = []
    for place, stems in matching.items():
        image = next((owner[stem] for stem in stems if stem in owner), None)
        if image is None:
            strays.append(files[place])
        elif image in of_image:
            raise InputError(
                f"{files[place]}: {image} has {of_image[image].name}, too; remove one of them"
            )
        else:
            of_image[image] = files[place]
    # without an image, nothing says that these files hold cells (any zip, any picture)
    return LabelFiles(kind, of_image, _telling(strays, endings), []) if of_image else None


def _before_ending(place: str, endings: Collection[str]) -> Iterator[str]:
    """What may be the image's name, by any ending that fits."""
    for ending in endings:
        if place.endswith(ending) and not place.endswith("/" + ending):
            yield place.removesuffix(ending)


def _telling(strays: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    """Those whose ending is more than the suffix of any file."""
    ends = tuple(end for end in endings if end.startswith("_") or end == ".geojson")
    return [path for path in strays if ends and path.name.endswith(ends)]
