"""Every promise of docs/reliability.md names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| promise", "| scenario", "| `"))
]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("path", "test"), NAMED, ids=["::".join(pair) for pair in NAMED])
def test_the_test_is_there(path, test):
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text(), flags=re.MULTILINE)


def test_every_promise_has_one():
    assert len(ROWS) > 15
    assert [row for row in ROWS if not re.search(r"`tests/[\w/]+\.py::\w+` *\|$", row)] == []


def test_every_kind_of_trouble_has_a_section():
    sections = re.findall(r"^## (.*)", PAGE, flags=re.MULTILINE)
    assert sections == [
        "Files",
        "A full disk",
        "Crashes",
        "Signals",
        "Threads",
        "Forked processes",
        "Going on after a stop",
        "The soak",
    ]
