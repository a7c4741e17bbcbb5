"""Programs for several backends: ``pyro``, ``infer`` and so on stand for the modules of the backend in force.

>>> from ember.pyro.generic import infer, pyro_backend
>>> with pyro_backend(infer="ember.contrib.minipyro"):
...     infer.SVI.__module__
'ember.contrib.minipyro'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["distributions", "handlers", "infer", "ops", "optim", "pyro", "pyro_backend", "register_backend"]


def _of(root: str, distributions: str, handlers: str, ops: str) -> dict[str, str]:
    below = {part: f"{root}.{part}" for part in ("infer", "optim")} if root == "pyro" else {}
    return {"distributions": distributions, "handlers": handlers, "ops": ops, "pyro": root} | {
        part: below.get(part, root) for part in ("infer", "optim")
    }


_backends: dict[str, dict[str, str]] = {
    "pyro": _of("pyro", "pyro.distributions", "pyro.poutine", "torch"),
    "minipyro": _of("pyro.contrib.minipyro", "pyro.distributions", "pyro.poutine", "torch"),
}


class GenericModule:
    """Stands for one part of a backend: its attributes are those of the module that is in force."""

    def __init__(self, name: str, path: str) -> None:
        self.__name__ = name
        self._path = path

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        try:
            return getattr(self._module(), name)
        except AttributeError:
            raise NotImplementedError(
                f"This Pyro backend does not implement {self.__name__}.{name}"
            ) from None

    def __dir__(self) -> list[str]:
        return dir(self._module())

    def __repr__(self) -> str:
        return f"<{self.__name__} of a backend: {self._path}>"

    def _module(self) -> ModuleType:
        return import_module(self._path)

    def _swap(self, path: str) -> str:
        before, self._path = self._path, path
        return before


pyro = GenericModule("pyro", "pyro")
distributions = GenericModule("distributions", "pyro.distributions")
handlers = GenericModule("handlers", "pyro.poutine")
infer = GenericModule("infer", "pyro.infer")
optim = GenericModule("optim", "pyro.optim")
ops = GenericModule("ops", "torch")
_parts = {part.__name__: part for part in (pyro, distributions, handlers, infer, optim, ops)}


@contextmanager
def pyro_backend(*aliases: str, **new_backends: str) -> Iterator[None]:
    """Put a backend in force for the length of a ``with`` block.

    Args:
        aliases: names of backends, such as "pyro" or "minipyro"; later ones win.
        new_backends: paths of modules for single parts, such as ``infer="pyro.contrib.minipyro"``.

    Raises:
        KeyError: for a backend or a part that there is not.
        ImportError: if a module cannot be imported.
    """
    paths: dict[str, str] = {}
    for alias in aliases:
        paths.update(_backends[alias])
    paths.update(new_backends)
    for part in paths:
        if part not in _parts:
            raise KeyError(f"no part {part!r} of a backend; there are {', '.join(_parts)}")
    for path in paths.values():
        import_module(path)
    before = {part: _parts[part]._swap(path) for part, path in paths.items()}
    try:
        yield
    finally:
        for part, path in before.items():
            _parts[part]._swap(path)


def register_backend(alias: str, new_backends: Mapping[str, str]) -> None:
    """Name a backend for :func:`pyro_backend`.

    Args:
        alias: the name.
        new_backends: part -> path of its module; parts that it leaves out stay as they are.
    """
    _backends[alias] = dict(new_backends)
