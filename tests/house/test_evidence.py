"""Pages that name tests and commands (docs/evidence.md, docs/reliability.md) name ones that are there, for every page and row."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
EVIDENCE = (DOCS / "evidence.md").read_text(encoding="utf-8")
RELIABILITY = (DOCS / "reliability.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)*)`", EVIDENCE + RELIABILITY)))
COMMANDS = sorted(set(re.findall(r"`((?:make|python -m|bash) [^`]+)`", EVIDENCE)))
ELSEWHERE = {"evidence.md", "reliability.md"}
"""The page itself, and the one that has a test beside each promise of its own."""
OF_THE_ROOT = ("README.md", "CONTRIBUTING.md", "SECURITY.md")


def rows(page: str) -> list[str]:
    """The lines of tables whose last column says what shows the first."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(("| claim |", "| promise |", "| scenario", "| `"))]


@functools.cache
def defined(path: str) -> frozenset[str]:
    """The tests of a file, as pytest names them."""
    names = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(f"::{node.name}")
        if isinstance(node, ast.ClassDef):
            names |= {
                f"::{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)
            }
    return frozenset(names)


def test_each_test_is_there():
    assert len(TESTS) > 500
    missing = [
        path + name
        for path, name in TESTS
        if not (ROOT / path).exists() or (name and name not in defined(path))
    ]
    assert missing == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_there(command):
    tool, name = re.match(r"(make|python -m|bash) (\S+)", command).groups()
    if tool == "make":
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    elif tool == "bash":
        assert (ROOT / name).exists()
    else:
        place = (ROOT / "src" if name.startswith("ember") else ROOT) / name.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists()


def test_every_page_has_a_section():
    pages = {page.name for page in DOCS.glob("*.md")} - ELSEWHERE | set(OF_THE_ROOT)
    assert set(re.findall(r"^## (\S+\.md)$", EVIDENCE, flags=re.MULTILINE)) == pages


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        (EVIDENCE, r"`(tests/|make |python -m |bash )[^`]+` *\|$|the page's code(: [^|]+)? *\|$"),
        (RELIABILITY, r"`tests/[\w/]+\.py::\w+` *\|$"),
    ],
    ids=["evidence", "reliability"],
)
def test_every_row_says_what_shows_it(page, shown):
    found = rows(page)
    assert len(found) > 15
    assert [row for row in found if not re.search(shown, row)] == []


def test_every_kind_of_trouble_has_a_section():
    sections = re.findall(r"^## (.*)", RELIABILITY, flags=re.MULTILINE)
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
