"""One version everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import ember

ROOT = Path(__file__).parents[2]


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert project["version"] == ember.__version__ == cited[1]


def test_promises_are_in_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "versions.md").read_text()
    torch = next(name for name in project["dependencies"] if name.startswith("torch"))
    python = project["requires-python"].removeprefix(">=")
    assert f"Python >= {python} and torch >= {torch.removeprefix('torch>=')}" in page
