"""Plain values that programs read from Pyro's modules and that Ember's own code has no use for: numbers, loggers."""

from __future__ import annotations

import importlib.util
import logging
import math
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from ember.pyro import surface

_VALUES: dict[str, float] = {
    "pyro.distributions.grouped_normal_normal.LOG_ROOT_TWO_PI": 0.5 * math.log(2 * math.pi),
    "pyro.distributions.sine_bivariate_von_mises.pi": math.pi,
    "pyro.distributions.sine_skewed.pi": math.pi,
    "pyro.ops.ssm_gp.five_thirds": 5.0 / 3.0,
    "pyro.ops.ssm_gp.root_five": math.sqrt(5.0),
    "pyro.ops.ssm_gp.root_three": math.sqrt(3.0),
}


_DRAWER = "pyro.infer.inspect.graphviz"


def has(path: str, name: str) -> bool:
    """Whether a name of a module of Pyro's is one of these values."""
    known = f"{path}.{name}" in _VALUES or f"{path}.{name}" == _DRAWER
    return known or (name == "logger" and name in surface.names_at(path).own)


def value_at(path: str, name: str) -> Any:
    """The value that Pyro's module has under that name.

    A module's ``logger`` is that of its path, as the logging of the standard library finds it.

    Args:
        path: Pyro's path of the module.
        name: a public name.

    Raises:
        LookupError: if it is none of these values.
    """
    if not has(path, name):
        raise LookupError(f"{path!r} has no value {name!r}")
    if name == "logger":
        return logging.getLogger(path)
    if f"{path}.{name}" == _DRAWER:
        installed = importlib.util.find_spec("graphviz") is not None
        return import_module("graphviz") if installed else SimpleNamespace(Digraph=object)
    return _VALUES[f"{path}.{name}"]
