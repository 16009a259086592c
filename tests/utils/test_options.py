"""Types of options and what a script says about a wrong one."""

from __future__ import annotations

import argparse

import pytest

from utils.options import above, at_least, between, frames_option, script_parser, z_option


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (at_least(2), "2", 2),
        (at_least(0.0), "0", 0.0),
        (above(0.0), "1e-9", 1e-9),
        (between(1, 16), "16", 16),
        (between(0.0, 1.0), "1", 1.0),
    ],
)
def test_numbers_in_range(kind, text, value):
    assert kind(text) == value
    assert type(kind(text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (at_least(2), "1"),
        (at_least(2), "2.5"),
        (at_least(0.0), "inf"),
        (above(0.0), "0"),
        (above(0.0), "nan"),
        (between(1, 16), "17"),
        (between(0.0, 1.0), "-0.1"),
        (between(0.0, 1.0), "much"),
    ],
)
def test_other_numbers_are_refused(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a"):
        kind(text)


@pytest.mark.parametrize(
    ("text", "frames"),
    [("0:10", (0, 10)), ("3", (3, 4)), (":5", (None, 5)), ("5:", (5, None)), ("0", (0, 1))],
)
def test_frames(text, frames):
    assert frames_option(text) == frames


@pytest.mark.parametrize("text", ["", ":", "5:5", "7:3", "a", "-1:2", "1:2:3", "²"])
def test_what_are_no_frames(text):
    with pytest.raises(argparse.ArgumentTypeError, match="A:B"):
        frames_option(text)


def test_z():
    assert [z_option(text) for text in ("0", "12", "max", "focus")] == ["0", "12", "max", "focus"]
    for text in ("-1", "min", "", "²", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError, match="max, mean or focus"):
            z_option(text)


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--county", "1"], []])
def test_an_error_is_one_line(capsys, arguments):
    parser = script_parser("What the script does.")
    parser.add_argument("--count", type=at_least(1), required=True)
    with pytest.raises(SystemExit) as left:
        parser.parse_args(arguments)
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "--count" in line
    assert line.endswith("--help")
