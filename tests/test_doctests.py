"""The examples in docstrings, one test a module."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ember


def modules():
    # Importing these has effects: running a program, or waiting for ``import pyro``.
    effects = ("__main__", "sitecustomize")
    walk = pkgutil.walk_packages(ember.__path__, "ember.", onerror=lambda name: None)
    return ["ember", *(info.name for info in walk if not info.name.endswith(effects))]


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    output: list[str] = []
    for example in finder.find(module, name):
        ember.clear_param_store()
        ember.set_rng_seed(0)
        runner.run(example, out=output.append)
    assert runner.failures == 0, "".join(output)
