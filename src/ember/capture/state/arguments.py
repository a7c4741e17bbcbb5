"""Arguments taken apart: the tensors in them, and a key for all the rest.

A captured program is for one key: the structure of the arguments, the shapes, strides, dtypes and devices of tensors, and the
values of everything else. Functions count by what they do (code, bound arguments, closure), other objects by what they hold.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from ember import tree
from ember.capture.state.parts import is_plain, layout_part, plain_part
from ember.capture.state.walk import Walk

T = TypeVar("T")


def numbers_as_tensors(value: T) -> T:
    """A nested value with a tensor in the place of each number, for numbers that are others from call to call.

    >>> import torch
    >>> numbers_as_tensors([1, 0.5, True, "text"])
    [tensor(1), tensor(0.5000), True, 'text']
    """
    return tree.map_leaves(lambda leaf: torch.tensor(leaf) if type(leaf) in (int, float) else leaf, value)


def has_numbers(value: object) -> bool:
    """Whether :func:`numbers_as_tensors` would change anything."""
    return any(type(leaf) in (int, float) for leaf in tree.leaves(value))


def take_apart(value: Any, tensors: list[Tensor], walk: Walk) -> Hashable:
    """The key of a nested value; its tensors are appended to ``tensors``, in the order of :func:`ember.tree.tensors`.

    >>> import torch
    >>> found, walk = [], Walk(frozenset())
    >>> take_apart([torch.zeros(2), 1.0], found, walk) == take_apart([torch.ones(2), 1.0], found, walk), len(found)
    (True, 2)
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return layout_part(value)
    if is_plain(value):
        return plain_part(value)
    branch = tree.branch(value)
    if branch is None:
        return walk.part(value, f"an argument, a {type(value).__name__}")
    names = tuple([walk.part(name, "a key") for name in _iterated(branch.names)])
    return (branch.kind, names, *[take_apart(item, tensors, walk) for item in branch.items])


def _iterated(names: Hashable) -> tuple[object, ...]:
    return names if isinstance(names, tuple) else (names,)


__all__ = ["has_numbers", "numbers_as_tensors", "take_apart"]
