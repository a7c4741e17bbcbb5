"""Names of sites as paths of nested modules. A site may have the name of a method of modules, such as ``half``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ember.nn.module import PyroModule


def deep_setattr(obj: Any, key: str, val: Any) -> None:
    """Set an attribute under a name with dots; what is missing on the way becomes a :class:`PyroModule`.

    >>> root = PyroModule()
    >>> deep_setattr(root, "a.b", 1.0)
    >>> root.a.b
    1.0
    """
    *path, last = key.split(".")
    for part in path:
        below = _own(obj, part)
        if below is None:
            _set(obj, part, PyroModule())
            below = _own(obj, part)
        obj = below
    _set(obj, last, val)


def deep_getattr(obj: Any, key: str) -> Any:
    """The attribute under a name with dots.

    Raises:
        AttributeError: if there is none.

    >>> root = PyroModule()
    >>> deep_setattr(root, "a.half", 1.0)
    >>> deep_getattr(root, "a.half")
    1.0
    """
    for part in key.split("."):
        value = _own(obj, part)
        if value is None:
            raise AttributeError(f"{type(obj).__name__!r} object has no attribute {part!r}")
        obj = value
    return obj


def _own(obj: Any, name: str) -> Any:
    """An attribute, the module's own parameters and parts before methods of its class; None if there is none."""
    if isinstance(obj, nn.Module):
        declared = getattr(obj, "_pyro_params", {})
        if name in declared or name in obj._parameters or name in obj._modules:
            return obj.__getattr__(name)
        if name in obj.__dict__:
            return obj.__dict__[name]
        # A method is no site; properties and descriptors of the class are.
        found = getattr(obj, name, None)
        return None if callable(found) and not isinstance(found, nn.Module) else found
    return getattr(obj, name, None)


def _set(obj: Any, name: str, value: Any) -> None:
    if isinstance(obj, nn.Module) and isinstance(value, nn.Module) and hasattr(type(obj), name):
        obj._modules[name] = value  # it learns where it is when it is first read
    else:
        setattr(obj, name, value)


def product(shape: Iterable[int]) -> int:
    """The product of all sizes, 1 for none; sizes may be traced tensors."""
    result = 1
    for size in shape:
        result = result * size
    return result


_product = product  # the name that Pyro has for it
