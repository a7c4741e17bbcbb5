"""A page of reference for each public module: all names of its table of contents, in their order."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from tools.site.roles import as_code

MODULES = {
    "ember": "Programs",
    "ember.infer": "Inference",
    "ember.infer.autoguide": "Guides",
    "ember.infer.autoguide.initialization": "Where guides start",
    "ember.infer.reparam": "Reparameterisation",
    "ember.distributions": "Distributions",
    "ember.distributions.constraints": "Constraints",
    "ember.distributions.transforms": "Transforms",
    "ember.optim": "Optimizers",
    "ember.poutine": "Handlers",
    "ember.nn": "Networks",
    "ember.params": "Parameters",
    "ember.capture": "Compiling",
    "ember.fit": "Fits of densities",
    "ember.infer.vi": "Methods, one by one",
    "ember.train": "Training",
    "ember.report": "After the fit",
    "ember.contrib.hsgp": "Gaussian processes in Hilbert space",
    "ember.settings": "Settings",
    "ember.errors": "Errors",
}
"""Public modules, and the titles of their pages."""


def page(module: str, title: str) -> str:
    """The source of a page."""
    found = import_module(module)
    lines = [f"# {title}: `{module}`", "", _summary(found), ""]
    for name, value in public(found):
        where = _home(module, name, value)
        if where is None:
            lines += [f"## `{name}`", "", f"`{type(value).__name__}`: `{_short(value)}`", ""]
        else:
            lines += [f"::: {where}", ""]
    return "\n".join(lines)


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The names of a module's table of contents, but its submodules; names in dir() where it has none."""
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    for name in names:
        value = getattr(module, name)
        own = getattr(value, "__module__", "") or ""
        if not (
            inspect.ismodule(value) or name.startswith("__") or (inspect.isclass(value) and own == "typing")
        ):
            yield name, value


def _home(module: str, name: str, value: Any) -> str | None:
    """Where a name is defined, which is where its docstring is; None for values without one, and for names of others."""
    own = getattr(value, "__module__", None)
    called = getattr(value, "__qualname__", None)
    if not isinstance(own, str) or not isinstance(called, str) or not own.startswith("ember"):
        return None
    home = getattr(import_module(own), called.split(".")[0], None)
    return f"{own}.{called}" if home is not None and "<" not in called else None


def _summary(module: ModuleType) -> str:
    return as_code(inspect.cleandoc(module.__doc__ or "").replace("``", "`"))


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) < 80 else text[:77] + "..."
