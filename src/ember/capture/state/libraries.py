"""Whose code is taken to stay as it is: Python's own, and the numerical libraries below Ember."""

from __future__ import annotations

import sys
from functools import cache

_LIBRARIES = frozenset(
    {"torch", "numpy", "ember", "scipy", "pandas", "opt_einsum", "tqdm", "sklearn", "matplotlib", "zuko"}
    | {
        "functorch",
        "sympy",
        "networkx",
        "mpmath",
        "PIL",
        "torchvision",
        "hypothesis",
        "pytest",
        "_pytest",
        "IPython",
    }
) | frozenset(sys.stdlib_module_names)


@cache
def is_library(module: str | None) -> bool:
    """Whether a module's code is not looked into.

    >>> is_library("torch.nn.functional"), is_library("__main__")
    (True, False)
    """
    return module is not None and module.partition(".")[0] in _LIBRARIES - {"__main__"}


__all__ = ["is_library"]
