"""Damaging what is inside of checkpoints, pickles and images, which stay well-formed files."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct

import cv2
import numpy as np
import tifffile
import torch
from fuzzing.mutations import ODD, damage_bytes, damage_tree


def damage_checkpoint(content: bytes, rng: random.Random) -> bytes:
    """The description or the weights of a checkpoint, or bytes of it."""
    change = rng.random()
    if change < 0.35:
        return damage_bytes(content, rng)
    checkpoint = torch.load(io.BytesIO(content), weights_only=True)
    meta = checkpoint["meta"]
    if change < 0.65:
        name = rng.choice(("model", "model", "model", "inference"))
        meta[name] = json.dumps(damage_tree(json.loads(meta[name]), rng))
    elif change < 0.75:
        checkpoint["meta"] = damage_tree(meta, rng)
    elif change < 0.9 and "optimizer" in checkpoint:
        if rng.random() < 0.5:
            checkpoint["optimizer"] = damage_tree(checkpoint["optimizer"], rng)
        else:
            damage_weights(checkpoint["weights"], rng)
    else:
        damage_weights(checkpoint["state_dict"], rng)
    return saved(checkpoint)


def damage_weights(weights: dict, rng: random.Random) -> None:
    """One tensor of a state dict, in place."""
    name = rng.choice(list(weights))
    value = weights[name]
    changes = (
        lambda: weights.pop(name),
        lambda: weights.update({name: value.flatten()}),
        lambda: weights.update({name: value[None]}),
        lambda: weights.update({name: value[:0] if value.dim() else value}),
        lambda: weights.update({name: value.double() * 1e30}),
        lambda: weights.update({name: value.float() * 1e18}),
        lambda: weights.update({name: value.float() * float("nan")}),
        lambda: weights.update({name: value.to(rng.choice(DTYPES))}),
        lambda: weights.update({name: torch.zeros(1).expand(2**20, 2**20)}),
        lambda: weights.update({name: rng.choice(ODD)}),
        lambda: weights.update({rng.choice(("", "x", "backbone")): value}),
    )
    rng.choice(changes)()


DTYPES = (torch.int8, torch.bool, torch.float16, torch.complex64, torch.int64, torch.bfloat16)


def saved(value: object) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def damage_weights_pickle(content: bytes, rng: random.Random) -> bytes:
    """A pickle of arrays by name in `model`, or bytes of it."""
    if rng.random() < 0.5:
        return damage_bytes(content, rng)
    weights = pickle.loads(content)["model"]
    return pickle.dumps({"model": damage_tree(weights, rng, (*ODD, *odd_arrays()))})


def damage_weights_file(content: bytes, rng: random.Random) -> bytes:
    """The same for torch's own format."""
    if rng.random() < 0.5:
        return damage_bytes(content, rng)
    weights = torch.load(io.BytesIO(content), weights_only=True)["model"]
    damage_weights(weights, rng)
    return saved({"model": weights})


def damage_predictions(content: bytes, rng: random.Random) -> bytes:
    """Predictions of one image for the 2nd level, or bytes of the pickle."""
    if rng.random() < 0.4:
        return damage_bytes(content, rng)
    record = damage_tree(pickle.loads(content), rng, (*ODD, *odd_arrays()))
    return pickle.dumps(record, protocol=rng.choice((2, 4, 5)))


def odd_arrays() -> tuple[np.ndarray, ...]:
    """Arrays of other types, shapes and values than a program expects."""
    return (
        np.zeros(0, np.float32),
        np.zeros((3, 4), np.float32),
        np.zeros((12, 4), np.float32),
        np.full((12, 4), np.nan, np.float32),
        np.full((12, 4), 1e30, np.float32),
        np.full(12, -1, np.int64),
        np.full((12, 2), 2**62, np.int64),
        np.zeros((0, 5), np.uint16),
        np.zeros((2, 3, 4), np.uint16),
        np.array(["text"]),
        np.array(7),
        np.zeros(12, complex),
    )


def damage_regressor(content: bytes, rng: random.Random) -> bytes:
    """A pickled CatBoostRegressor: its pickle, and mostly its trees."""
    start = content.index(b"CBM1")
    if rng.random() < 0.3:
        return damage_bytes(content, rng)
    place = start + rng.randrange(90_000)
    word = rng.choice((b"\xff\xff\xff\xff", bytes(4), rng.randbytes(4)))
    return content[:place] + word + content[place + 4 :]


def damage_image(suffix: str):
    """For a suffix: bytes of an image, or one of a kind that is seldom seen."""

    def damage(content: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.7:
            return damage_bytes(content, rng)
        image = rng.choice(odd_images(rng))
        if suffix == ".npy":
            return numpy_bytes(image)
        if suffix == ".tif" and rng.random() < 0.2:
            pages = rng.randrange(1, 150)
            return circular_tiff(image, pages, rng.randrange(pages))
        if suffix == ".tif":
            return tiff_bytes(image)
        try:
            return cv2.imencode(suffix, image)[1].tobytes()
        except cv2.error:  # OpenCV writes no such image
            return b""

    return damage


def odd_images(rng: random.Random) -> list[np.ndarray]:
    """Sizes, types, channels and values at the edge of what an image is."""
    noise = np.random.default_rng(rng.randrange(2**32))
    shape = rng.choice(((1, 1), (1, 40), (40, 1), (5, 7), (96, 128)))
    grey = noise.integers(0, 256, shape)
    dtype = rng.choice((np.uint8, np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64))
    channels = rng.choice((1, 2, 3, 4, 5))
    float_image = grey.astype(np.float32)
    float_image.flat[0] = rng.choice((np.nan, np.inf, -np.inf, 1e38))
    return [
        grey.astype(dtype),
        np.repeat(grey[:, :, None], channels, axis=2).astype(np.uint8),
        np.full(shape, rng.choice((0, 128, 255)), np.uint8),
        float_image,
    ]


def tiff_bytes(image: np.ndarray) -> bytes:
    """What tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, image)
    return file.getvalue()


def circular_tiff(image: np.ndarray, pages: int, back_to: int, big: bool = False) -> bytes:
    """A TIFF of some pages, behind whose last one comes an earlier one (or itself)."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big) as writer:
        for _ in range(pages):
            writer.write(image, contiguous=False, metadata=None)
    file.seek(0)
    with tifffile.TiffFile(file) as tif:
        layout, offsets = tif.tiff, [page.offset for page in tif.pages]
        content = bytearray(file.getvalue())
    (tags,) = struct.unpack_from(layout.tagnoformat, content, offsets[-1])
    next_page = offsets[-1] + layout.tagnosize + tags * layout.tagsize
    struct.pack_into(layout.offsetformat, content, next_page, offsets[back_to])
    return bytes(content)


def numpy_bytes(image: np.ndarray) -> bytes:
    """What numpy.save writes."""
    file = io.BytesIO()
    np.save(file, image)
    return file.getvalue()
