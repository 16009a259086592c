"""Which planes of a file are segmented: what the user chose against the axes that the file has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from utils.script import InputError

if TYPE_CHECKING:
    from cells.readers.volume import Volume

COLOURS = ("red", "green", "blue")
PROJECTIONS = ("max", "mean", "focus")
UNNAMED = "IQ"  # axes of which the file does not say what they are
FLAGS = {"C": "--channel N|NAME", "Z": "--z N|max|mean|focus", "T": "--frames A:B"}


@dataclass(frozen=True)
class PlaneChoice:
    """What the user asks for of files with several planes; numbers count from 0.

    Attributes:
        channel: number or name of the channel that the models look at.
        z: number of a plane, or how all become one: `max`, `mean`, or `focus`, the sharpest.
        frames: (first, end) of the time points, the end excluded; None in either: no limit.
        every_plane: one result for each plane of the axes that nothing was chosen of.
    """

    channel: str | None = None
    z: str | None = None
    frames: tuple[int | None, int | None] | None = None
    every_plane: bool = False


NO_CHOICE = PlaneChoice()


@dataclass(frozen=True)
class Plane:
    """One image to segment out of a file.

    Attributes:
        index: position on each axis of `Volume.sizes` except for a projected one.
        channel: letter of the axis whose planes are channels of this image; None without.
        projection: of `PROJECTIONS` with the letter of its axis; None without.
        colour: which colour the models look at (0 red, 1 green, 2 blue); None: all, or grey.
        suffix: `_t3_z0` or so, for the names of results; empty where the file is one image.
    """

    index: Mapping[str, int] = field(default_factory=dict)
    channel: str | None = None
    projection: tuple[str, str] | None = None
    colour: int | None = None
    suffix: str = ""


def as_chosen(volume: Volume, choice: PlaneChoice) -> Volume:
    """The volume, or its colours as planes of a stack where the choice is about planes."""
    wants_planes = choice.z or choice.frames or choice.every_plane
    return volume.stack if volume.stack and wants_planes else volume


def choose_planes(volume: Volume, choice: PlaneChoice) -> list[Plane]:
    """The images of a file that the user wants.

    An axis that the file does not name (I, Q) is taken for the one that was asked for.

    Raises:
        InputError: several planes and no choice, or one that the file does not have.
    """
    roles = _roles(volume, choice)
    _check_absent(volume, roles, choice)
    axis_of = {role: axis for axis, role in roles.items()}
    projection = None
    if choice.z is not None and choice.z in PROJECTIONS and "Z" in axis_of:
        projection = choice.z, axis_of["Z"]
    ranges = {
        axis: _positions(volume, axis, roles.get(axis), choice)
        for axis in volume.sizes
        if projection is None or axis != projection[1]
    }
    _check_chosen(volume, ranges, roles, choice)
    colour = None
    if volume.colour and choice.channel and "C" not in axis_of:
        colour = _channel(volume, 3, choice.channel, COLOURS)
    return [
        Plane(
            index=dict(zip(ranges, position, strict=True)),
            channel=axis_of.get("C"),
            projection=projection,
            colour=colour,
            suffix=_suffix(volume, ranges, position),
        )
        for position in itertools.product(*ranges.values())
    ]


def _roles(volume: Volume, choice: PlaneChoice) -> dict[str, str]:
    """The role (C, Z or T) of each axis that has one."""
    roles = {axis: axis for axis in volume.sizes if axis in FLAGS}
    unnamed = [axis for axis in volume.sizes if axis in UNNAMED]
    asked = {"C": choice.channel, "Z": choice.z, "T": choice.frames}
    if volume.colour:
        del asked["C"]
    for role, wanted in asked.items():
        if wanted and role not in roles.values() and unnamed:
            roles[unnamed.pop(0)] = role
    return roles


def _check_chosen(
    volume: Volume, ranges: Mapping[str, list], roles: Mapping[str, str], choice: PlaneChoice
) -> None:
    several = [axis for axis, positions in ranges.items() if len(positions) > 1]
    open_axes = [axis for axis in several if not (roles.get(axis) == "T" and choice.frames)]
    if not open_axes or choice.every_plane:
        return
    flags = [FLAGS[roles[axis]] for axis in open_axes if axis in roles]
    unasked = [flag for role, flag in FLAGS.items() if role not in roles.values()]
    if unasked and any(axis in UNNAMED and axis not in roles for axis in open_axes):
        flags.append(" or ".join(unasked))
    names = f" (channels {', '.join(volume.channel_names)})" if volume.channel_names else ""
    remedy = f"choose with {' and '.join(flags)}, or take" if flags else "take"
    raise InputError(
        f"{volume.path}: has several planes, {volume.describe_axes()}{names}; {remedy} "
        "--every_plane"
    )


def _positions(volume: Volume, axis: str, role: str | None, choice: PlaneChoice) -> list[int]:
    """What of an axis is wanted; all where nothing was chosen."""
    size = volume.sizes[axis]
    if role == "C" and choice.channel:
        return [_channel(volume, size, choice.channel, volume.channel_names)]
    if role == "Z" and choice.z:
        return [_number(volume, "--z", choice.z, size)]
    if role == "T" and choice.frames:
        return _frames(volume, choice.frames, size)
    return list(range(size))


def _check_absent(volume: Volume, roles: Mapping[str, str], choice: PlaneChoice) -> None:
    """Of an axis that the file does not have there is number 0, and nothing else."""
    present = set(roles.values())
    if choice.channel and "C" not in present and not volume.colour:
        _number(volume, "--channel", choice.channel, 1)
    if choice.z and choice.z not in PROJECTIONS and "Z" not in present:
        _number(volume, "--z", choice.z, 1)
    if choice.frames and "T" not in present:
        _frames(volume, choice.frames, 1)


def _channel(volume: Volume, size: int, wanted: str, names: tuple[str, ...]) -> int:
    lower = [name.lower() for name in names]
    if wanted.lower() in lower:
        return lower.index(wanted.lower())
    return _number(volume, "--channel", wanted, size, names)


def _number(volume: Volume, flag: str, wanted: str, size: int, names: tuple[str, ...] = ()) -> int:
    if wanted.isdecimal() and int(wanted) < size:
        return int(wanted)
    there = "only 0" if size == 1 else f"0 to {size - 1}"
    known = f" ({', '.join(names)})" if names else ""
    raise InputError(f"{volume.path}: {flag} {wanted} is not in the file; it has {there}{known}")


def _frames(volume: Volume, frames: tuple[int | None, int | None], size: int) -> list[int]:
    chosen = list(range(size))[slice(*frames)]
    if not chosen:
        first, end = ("" if side is None else side for side in frames)
        raise InputError(
            f"{volume.path}: --frames {first}:{end} holds none of its frames, 0 to {size - 1}"
        )
    return chosen


def _suffix(volume: Volume, ranges: Mapping[str, list], position: tuple[int, ...]) -> str:
    """Names the positions on axes of which several are taken, wide enough to sort."""
    return "".join(
        f"_{axis.lower()}{at:0{len(str(volume.sizes[axis] - 1))}d}"
        for (axis, positions), at in zip(ranges.items(), position, strict=True)
        if len(positions) > 1
    )
