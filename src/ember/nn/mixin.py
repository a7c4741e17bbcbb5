"""``PyroModule[nn.Linear]``: classes with effects, made from classes of torch on demand."""

from __future__ import annotations

import copyreg
from typing import Any

from torch import nn


class PyroModuleMeta(type):
    """The class of ``PyroModule``, which gives it the brackets."""

    _pyro_mixin_cache: dict[type[nn.Module], Any] = {}
    _root: Any = None
    """``PyroModule`` itself; the first class made."""

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any], **kwargs: object) -> None:
        super().__init__(name, bases, body, **kwargs)
        PyroModuleMeta._root = PyroModuleMeta._root or cls

    def __getitem__(cls, Module: type[nn.Module]) -> Any:
        """The class that is both ``Module`` and a ``PyroModule``; the same one each time."""
        assert isinstance(Module, type), f"expected a class, got {Module!r}"
        assert issubclass(Module, nn.Module), f"expected a subclass of torch.nn.Module, got {Module.__name__}"
        return mixed(Module)


def mixed(base: type[nn.Module]) -> Any:
    """``PyroModule[base]``."""
    root, cache = PyroModuleMeta._root, PyroModuleMeta._pyro_mixin_cache
    if issubclass(base, root):
        return base
    if base is nn.Module:
        return root
    if base not in cache:
        bases = (base, *(mixed(parent) for parent in base.__bases__ if issubclass(parent, nn.Module)))
        body = {"__module__": base.__module__, "__reduce__": _reduce, "_pyro_mixin_of": base}
        cache[base] = type(root)("Pyro" + base.__name__, bases, body)
    return cache[base]


def register_mixed(base: type[nn.Module], made: object) -> None:
    """Let ``made``, which is written by hand, be ``PyroModule[base]``."""
    PyroModuleMeta._pyro_mixin_cache[base] = made


def empty_instance(base: type[nn.Module]) -> Any:
    """An object of ``PyroModule[base]`` without state, for unpickling."""
    cls = mixed(base)
    return cls.__new__(cls)


def _reduce(self: object) -> tuple[Any, ...]:
    base = type(self).__dict__.get("_pyro_mixin_of")
    if base is None:  # a subclass that somebody has written can be found by its own name
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]
    return empty_instance, (base,), self.__getstate__()
