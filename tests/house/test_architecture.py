"""What docs/architecture.md names is there: files, folders, tables in files, contracts, commands."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:src|tests|tools|docs)/[^`\s:]+|\.importlinter)(?:: (\w+))?`", PAGE)))


def names_in(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name


@pytest.mark.parametrize(("path", "table"), NAMED, ids=[": ".join(filter(None, pair)) for pair in NAMED])
def test_what_is_named_exists(path, table):
    assert (ROOT / path).exists()
    assert not table or table in names_in(ROOT / path)


def test_every_recipe_has_a_file_a_test_and_a_place_in_the_contents():
    recipes = re.split(r"^\*\*", PAGE.partition("## A new")[2].partition("\n## ")[0], flags=re.MULTILINE)[1:]
    kinds = [recipe.split("**")[0] for recipe in recipes]
    assert [kind.split()[0].rstrip(",") for kind in kinds] == [
        "objective",
        "handler",
        "guide",
        "optimizer",
        "distribution",
        "operator",
        "quantity",
    ]
    for recipe in recipes:
        steps = re.findall(r"^\d\. ", recipe, flags=re.MULTILINE)
        assert 2 <= len(steps) <= 5 and "`src/ember/" in recipe and "`tests/" in recipe


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`python -m ([\w.]+)", PAGE))))
def test_commands_exist(command):
    assert importlib.util.find_spec(command) is not None


def test_contracts_that_are_named_are_measured():
    pytest.importorskip("grimp")
    from tools.house.measures import MEASURES

    named = set(re.findall(r"`python -m tools\.house (\w+)`", PAGE))
    assert named and named <= set(MEASURES)
