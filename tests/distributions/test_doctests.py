"""The examples in the docstrings of the package."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import ember.distributions as dist

MODULES = [m.name for m in pkgutil.walk_packages(dist.__path__, "ember.distributions.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    torch.manual_seed(0)
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    result = doctest.testmod(module, extraglobs={"torch": torch})
    assert result.failed == 0
