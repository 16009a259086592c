"""Options that say how large the images are, and what the models are asked because of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from network.setup import image_scale_from, tile_size_from
from utils.options import add_prediction_options, script_parser
from utils.script import InputError

SARTORIUS = ("shsy5y", "astro", "cort")
BEFORE = {"short_side": 832, "long_side": 1664}
OWN = {
    "scale": 1.0,
    "field": [500, 500],
    "cell_diameter": {"nucleus": 40.0, "default": 40.0},
    "pixel_size": 0.5,
}


def parse(*options):
    parser = script_parser("")
    add_prediction_options(parser)
    return parser.parse_args(options)


def models(inference, class_names):
    view = SimpleNamespace(detector=SimpleNamespace(inference=inference))
    return SimpleNamespace(views=[view], class_names=class_names)


@pytest.mark.parametrize(
    ("options", "inference", "names", "expected"),
    [
        ((), BEFORE, SARTORIUS, 1.0),
        (("--scale", "0.5"), BEFORE, SARTORIUS, 0.5),
        (("--diameter", "34.6"), BEFORE, SARTORIUS, 0.5),  # cells twice as large
        (("--pixel_size", "0.62"), BEFORE, SARTORIUS, 0.5),
        (("--diameter", "20"), OWN, ("nucleus",), 2.0),
        (("--pixel_size", "0.25"), OWN, ("nucleus",), 0.5),
        (("--pixel_size", "0.25", "--scale", "3"), OWN, ("nucleus",), 3.0),
        (("--pixel_size", "0.25"), BEFORE, ("other",), 1.0),  # the models do not know theirs
    ],
)
def test_scale_of_the_images(options, inference, names, expected):
    assert image_scale_from(parse(*options), models(inference, names)) == pytest.approx(expected)


def test_a_diameter_needs_models_that_know_theirs():
    with pytest.raises(InputError, match="--diameter"):
        image_scale_from(parse("--diameter", "20"), models(BEFORE, ("other",)))


@pytest.mark.parametrize(
    "options", [("--scale", "0"), ("--scale", "1", "--diameter", "3"), ("--tta", "turn")]
)
def test_impossible_options(options):
    with pytest.raises(SystemExit):
        parse(*options)


def test_size_of_a_tile():
    assert tile_size_from(parse()) is None
    assert tile_size_from(parse("--tile", "512")) == (512, 512)
    assert tile_size_from(parse("--tile", "704", "520")) == (520, 704)
    with pytest.raises(InputError, match="--tile"):
        tile_size_from(parse("--tile", "704", "520", "64"))


@pytest.mark.parametrize("option", ["--scale", "--diameter", "--pixel_size"])
@pytest.mark.parametrize("value", ["1e6", "1e-6"])
def test_sizes_that_no_image_can_have(option, value):
    with pytest.raises(InputError, match=f"{option} 1e.*0.01 to 100"):
        image_scale_from(parse(option, value), models(OWN, ("nucleus",)))
