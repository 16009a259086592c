"""What the documents name is there."""

from __future__ import annotations

import re

from helpers import ROOT


def test_every_row_of_the_comparison_has_its_tests():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Tests behind the comparison")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if "::" in line]
    assert len(rows) >= 10
    for row in rows:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row):
            assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)
        assert row.count("::") == len(re.findall(r"`tests/[\w/]+\.py::\w+`", row))
