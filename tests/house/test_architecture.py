"""What pages name is there: files, folders, tables in files, contracts, commands, names of Ember beside those of others."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import torch

import ember
import ember.distributions as dist

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
OTHERS = ("from-numpyro.md", "from-pymc.md")
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


@pytest.mark.parametrize("page", OTHERS)
def test_names_beside_those_of_other_libraries_exist(page):
    rows = re.findall(r"^\| .+ \| (.+) \|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"\b(?:ember|dist)(?:\.[A-Za-z]\w*)+", row)]
    assert len(named) > 15
    for name in named:
        found = ember
        for part in name.replace("dist.", "ember.distributions.").split(".")[1:]:
            found = (
                getattr(found, part)
                if hasattr(found, part)
                else importlib.import_module(f"{found.__name__}.{part}")
            )


def test_the_negative_binomial_of_pymc():
    """In docs/from-pymc.md: mean mu, variance mu + mu^2 / alpha."""
    mu, alpha = torch.tensor([0.5, 3.0]), torch.tensor([2.0, 0.7])
    found = dist.GammaPoisson(alpha, alpha / mu)
    torch.testing.assert_close(found.mean, mu)
    torch.testing.assert_close(found.variance, mu + mu**2 / alpha)
