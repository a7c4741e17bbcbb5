"""What every step of a loop takes over, where that is made of values that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember import tree
from ember.poutine.time.path import Path

Source = tuple[str, Any]
"""Where a leaf of a step's carry comes from: a site's value, a leaf of its input, or one of the carry that it took."""


class NotAtOnceError(Exception):
    """The steps have to run one after the other."""


@dataclass(frozen=True)
class Column:
    """One leaf of the carry that the steps take."""

    values: Tensor
    """With the steps along dim 0."""
    is_fixed: bool = False
    """Whether all steps take the same, and there is no dim of steps."""


def sources_of(
    paths: Mapping[str, Path], step: int, inputs: Sequence[Tensor], old: Any, new: Any
) -> list[Source]:
    """The sources of what a step has left.

    Raises:
        NotAtOnceError: if it has computed it.
    """
    known: dict[int, Source] = {id(leaf): ("input", k) for k, leaf in enumerate(inputs)}
    for name, path in paths.items():
        if path.given is not None:
            known[id(path.values[step])] = ("site", name)
    for k, leaf in enumerate(tree.leaves(old)):
        known[id(leaf)] = ("carry", k)
    leaves = tree.leaves(new)
    if not all(isinstance(leaf, Tensor) and id(leaf) in known for leaf in leaves):
        raise NotAtOnceError
    return [known[id(leaf)] for leaf in leaves]


def carries_over_time(
    carries: Sequence[Any], sources: Sequence[Source], values: Mapping[str, Tensor], inputs: Sequence[Tensor]
) -> tuple[list[Column], list[Tensor]]:
    """What all steps take, leaf by leaf, and what the last one leaves.

    Args:
        carries: of the first steps.
        sources: where each leaf comes from.
        values: those of the sites, with the steps along dim 0.
        inputs: those of the steps, too.

    Raises:
        NotAtOnceError: if leaves come from each other in a circle.
    """
    first, later = tree.leaves(carries[0]), tree.leaves(carries[-1])
    known: dict[int, tuple[Column, Tensor]] = {}

    def column(k: int, inner: tuple[int, ...]) -> tuple[Column, Tensor]:
        if k in known:
            return known[k]
        if k in inner:
            raise NotAtOnceError
        kind, which = sources[k]
        if kind == "carry" and which == k:
            known[k] = Column(later[k], is_fixed=True), later[k]
            return known[k]
        if kind == "carry":
            source = column(which, (*inner, k))[0]
            if source.is_fixed:
                raise NotAtOnceError
            whole = source.values
        else:
            whole = values[which] if kind == "site" else inputs[which]
        start = torch.as_tensor(first[k], dtype=whole.dtype, device=whole.device)
        start = start.expand(whole.shape[1:]).unsqueeze(0)
        known[k] = Column(torch.cat([start, whole[:-1]])), whole[-1]
        return known[k]

    both = [column(k, ()) for k in range(len(sources))]
    return [column for column, _ in both], [last for _, last in both]
