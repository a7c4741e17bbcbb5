"""Densities of the last fit: a fit of the same model to the same data finds its programs compiled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember import tree
from ember.errors import EmberError
from ember.infer.density.density import Density, density
from ember.infer.density.structure import Structure

Program = Callable[..., Any]
_MOST = 2  # a model as it is written, and with sites drawn through noise
_SAME = 1e-7
_BY_VALUE = (bool, int, float, complex, str, bytes)


@dataclass(frozen=True, eq=False)
class _Kept:
    """A density, and what it was asked for."""

    model: Program
    leaves: tuple[object, ...]
    structure: object
    words: str
    density: Density


class _Shelf(threading.local):
    """The last ones of this thread, the newest last."""

    def __init__(self) -> None:
        self.kept: list[_Kept] = []


_SHELF = _Shelf()


def kept_density(
    asked: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], model: Program, words: str = ""
) -> Density:
    """The density of a model in double precision, with the programs of an earlier fit where these are right.

    They are where model and arguments are the same objects (numbers and the like may be equal), where a new first run finds the
    same sites, and where the programs give what Python gives at a row. A model with parameters gets a new one each time. The
    last two of a thread are kept, with the data that they refer to.

    Args:
        asked: the model that the caller has given.
        args: its arguments.
        kwargs: its keyword arguments.
        model: the same in the coordinates of the density.
        words: says which these are.
    """
    fresh = density(model, *args, dtype=torch.float64, **kwargs)
    if len(fresh.joint.store):
        return fresh
    leaves, structure = tuple(tree.leaves((args, dict(kwargs)))), tree.structure((args, dict(kwargs)))
    for found in reversed(_SHELF.kept):
        same = found.model is asked and found.words == words and found.structure == structure
        if same and _are_same(found.leaves, leaves):
            if _is_right(found.density, fresh):
                _SHELF.kept.remove(found)
                _SHELF.kept.append(found)
                found.density.begin_again()
                return found.density
            _SHELF.kept.remove(found)
            break
    _SHELF.kept.append(_Kept(asked, leaves, structure, words, fresh))
    del _SHELF.kept[:-_MOST]
    return fresh


def _are_same(known: tuple[object, ...], leaves: tuple[object, ...]) -> bool:
    return all(
        a is b or (type(a) is type(b) and isinstance(a, _BY_VALUE) and a == b)
        for a, b in zip(known, leaves, strict=True)
    )


def _is_right(known: Density, fresh: Density) -> bool:
    """Whether an older density is that of the model as it is now."""
    if _sites(known.joint.structure) != _sites(fresh.joint.structure):
        return False
    row = fresh.start
    try:
        found, values = known(row.unsqueeze(0))[0], known.constrain(row.unsqueeze(0))
    except EmberError:
        return False
    with torch.no_grad():
        wanted, likes = fresh.joint.finite_density(row), fresh.joint.constrained(row)
    return _close(found[0], wanted) and all(_close(values[name][0], value) for name, value in likes.items())


def _sites(structure: Structure) -> object:
    blocks = [
        (b.name, b.unconstrained_shape, b.shape, type(b.transform), b.event_dim, b.dtype, b.fixed)
        for b in structure.all_blocks.values()
    ]
    return blocks, structure.enumerated, structure.nesting, structure.deterministic, structure.observed


def _close(found: Tensor, wanted: Tensor) -> bool:
    if not wanted.dtype.is_floating_point:
        return torch.equal(found, wanted)
    return torch.allclose(found.to(wanted.dtype), wanted, _SAME, _SAME, equal_nan=True)
