"""Objects told apart by what pickle would write of them: NumPy arrays, pandas tables, sparse matrices, generators of numbers."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Hashable, Mapping
from io import IOBase
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from ember.capture.state.parts import ById, ByWeakId, is_plain, layout_part, plain_part

_MOST_BYTES = 1 << 22
_DEEPEST = 20
# What such objects do has no effect on a number.
_WITHOUT_EFFECT = (
    logging.Logger,
    logging.Handler,
    IOBase,
    weakref.ref,
    threading.Thread,
    type(threading.Lock()),
    type(threading.RLock()),
    threading.local,
    torch.Generator,
)


class _Opaque(Exception):
    """An object whose content cannot be read, or is too large to be compared in every step."""


def content_part(value: object) -> Hashable:
    """The content of an object, in a form that can be compared; None where it cannot be read.

    >>> from fractions import Fraction
    >>> content_part(Fraction(1, 2)) == content_part(Fraction(2, 4)), content_part(i for i in range(3))
    (True, None)
    """
    try:
        return _part(value, 0)
    except (
        _Opaque,
        TypeError,
        ValueError,
        AttributeError,
        NotImplementedError,
        RuntimeError,
        RecursionError,
    ):
        return None


def _part(value: object, depth: int) -> Hashable:
    if depth > _DEEPEST:
        raise _Opaque
    if is_plain(value):
        return plain_part(value)
    if isinstance(value, Tensor):
        return (ByWeakId(value), layout_part(value))
    if type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
        return _array_part(value, depth)
    if isinstance(value, (type, ModuleType, FunctionType, BuiltinFunctionType, *_WITHOUT_EFFECT)):
        return ById(value)
    if isinstance(value, (list, tuple)):
        return (type(value), *[_part(item, depth + 1) for item in value])
    if isinstance(value, (set, frozenset)):
        return (type(value), *sorted([_part(item, depth + 1) for item in value], key=repr))
    if isinstance(value, Mapping):
        items = [(_part(key, depth + 1), _part(item, depth + 1)) for key, item in value.items()]
        return (type(value), *items)
    if isinstance(value, bytearray):
        return (bytearray, bytes(value))
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return (ById(type(value)), reduced)
    made_by, arguments, *state = reduced
    parts = [
        _part(made_by, depth + 1) if not callable(made_by) else ById(made_by),
        _part(arguments, depth + 1),
    ]
    for item in state:
        if item is not None and not callable(item):
            parts.append(_part(list(item) if hasattr(item, "__next__") else item, depth + 1))
    return (type(value), *parts)


def _array_part(array: Any, depth: int) -> Hashable:
    """A NumPy array or scalar. NumPy is not imported: a program that has none of its arrays may do without."""
    if array.nbytes > _MOST_BYTES:
        raise _Opaque
    if array.dtype.hasobject:
        return (type(array), array.shape, _part(array.tolist(), depth + 1))
    return (type(array), array.shape, array.dtype.str, array.tobytes())


__all__ = ["content_part"]
