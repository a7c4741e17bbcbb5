"""Arguments taken apart: the tensors in them, and a key for all the rest.

A captured program is for one key: the structure of the arguments, the shapes, strides, dtypes and devices of tensors, and the
values of everything else. NumPy arrays count by content; objects that cannot be hashed, by identity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class ById:
    """An object as a key: equal to itself only. It is kept alive, so that its id is not used again."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __hash__(self) -> int:
        return id(self.obj)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ById) and self.obj is other.obj


def callable_key(fn: Callable[..., Any]) -> Hashable:
    """A key for a program. A bound method is a new object at every access, but its parts are not."""
    inner = getattr(fn, "__func__", None)
    return (ById(fn.__self__), ById(inner)) if inner is not None else ById(fn)  # type: ignore[attr-defined]


def take_apart(value: Any, tensors: list[Tensor]) -> Hashable:
    """The key of a nested value; its tensors are appended to ``tensors``."""
    kind = type(value)
    if isinstance(value, Tensor):
        tensors.append(value)
        return (kind, value.shape, value.stride(), value.dtype, value.device, value.requires_grad)
    if kind in (int, float, str, bool, bytes, complex, type(None)):
        # repr tells 0.0 from -0.0 and makes NaN equal to itself.
        return (kind, repr(value)) if kind is float else (kind, value)
    if isinstance(value, (list, tuple)):
        return (kind, tuple([take_apart(item, tensors) for item in value]))
    if isinstance(value, Mapping):
        return (kind, tuple([(take_apart(k, []), take_apart(item, tensors)) for k, item in value.items()]))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return (kind, tuple([(f.name, take_apart(getattr(value, f.name), tensors)) for f in fields]))
    if isinstance(value, torch.nn.Module):
        return (ById(value), tuple(module.training for module in value.modules()))
    if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
        return (kind, getattr(value, "shape", ()), str(value.dtype), value.tobytes())
    if callable(value):
        return callable_key(value)
    try:
        hash(value)
    except TypeError:
        return ById(value)
    return (kind, value)


def put_together(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same nested value with other tensors in the place of its own."""
    kind = type(value)
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, (list, tuple)):
        items = [put_together(item, tensors) for item in value]
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    if isinstance(value, Mapping):
        items_by_key = {key: put_together(item, tensors) for key, item in value.items()}
        return items_by_key if kind is dict else _mapping_like(value, items_by_key)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # A shallow copy, so that fields that __init__ does not take come along.
        new = object.__new__(kind)
        for field in dataclasses.fields(value):
            object.__setattr__(new, field.name, put_together(getattr(value, field.name), tensors))
        return new
    return value


def _mapping_like(value: Any, items: dict[Any, Any]) -> Any:
    factory = getattr(value, "default_factory", None)
    return type(value)(factory, items) if factory is not None else type(value)(items)
