"""What programs read outside their arguments: one key for how it is, and a cheap look whether it still is so."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import torch

from ember.capture.state.facts import Facts, Layouts
from ember.capture.state.walk import Walk


@dataclass(frozen=True)
class World:
    """What programs read outside their arguments."""

    key: Hashable
    facts: Facts
    names: frozenset[str]
    """Attributes that they may read; of other objects of the user's, too."""
    by_text: bool
    """Whether they may read attributes by names that they compute."""
    unseen: tuple[str, ...]
    """What they read, but nobody can watch."""
    layouts: Layouts

    def holds(self) -> bool:
        """Whether nothing of it has changed: one look at each fact."""
        return self.facts.same() and self.layouts.same()

    def has_drawn(self) -> bool:
        """Whether what has changed first is a stream of random numbers."""
        return self.first_difference() in self.facts.random

    def first_difference(self) -> str:
        """What has changed first, as a user would call it."""
        index = self.layouts.first_difference()
        found = self.facts.first_difference()
        if found is not None:
            return found
        return "nothing" if index is None else self.facts.tensor_labels[index]


def scan(roots: Iterable[tuple[str, object]], embers_own: bool = True) -> World:
    """What the named programs read, without what Ember's own modules hold if ``embers_own`` is false.

    >>> box = {"beta": 1.0}
    >>> world = scan([("box", box)])
    >>> box["beta"] = 2.0
    >>> world.facts.same(), world.facts.first_difference(), world.key == scan([("box", box)]).key
    (False, 'box', False)
    """
    roots = list(roots)
    names: frozenset[str] = frozenset()
    by_text = False
    while True:
        walk = Walk(names, by_text, embers_own)
        parts = tuple([(label, walk.part(value, label)) for label, value in roots])
        if walk.found <= names and walk.by_text == by_text:
            return _world(parts, names, walk)
        # Names found late may be attributes of objects that were passed early.
        names |= walk.found
        by_text = walk.by_text


def _world(key: Hashable, names: frozenset[str], walk: Walk) -> World:
    facts = walk.facts
    dense = [index for index, tensor in enumerate(facts.tensors) if tensor.layout is torch.strided]
    facts.tensors = [facts.tensors[index] for index in dense]
    facts.tensor_labels = [facts.tensor_labels[index] for index in dense]
    return World(key, facts, names, walk.by_text, tuple(walk.unseen), Layouts(facts.tensors))


__all__ = ["World", "scan"]
