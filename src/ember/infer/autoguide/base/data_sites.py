"""Which sites are data, where a guide is first called without them.

A program that is loaded to predict calls a new guide without the data: then an observed site looks latent. The parameters tell:
a site that has none, that depends on others, and on which none depends that has some, is left to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ember.infer.autoguide.base.given_rows import without_initializers
from ember.poutine.handlers import block
from ember.structure.inspect import get_dependencies

Program = Callable[..., Any]
_MOST_SETS = 1000


def children_of(model: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, set[str]]:
    """The sites that depend on a site directly, by its name."""
    # Initial values would stand in for what a site depends on.
    found = block(get_dependencies)(without_initializers(model), args, kwargs)["prior_dependencies"]
    children: dict[str, set[str]] = {name: set() for name in found}
    for site, parents in found.items():
        for parent in parents:
            if parent != site:
                children.setdefault(parent, set()).add(site)
    return children


def left_to_the_model(missing: Collection[str], children: Mapping[str, set[str]]) -> set[str]:
    """Of the sites without parameters, those that depend on others, and on which no other site depends.

    >>> sorted(left_to_the_model({"y1", "y2", "new"}, {"y1": {"y2"}, "new": {"b"}, "b": {"y1", "y2"}}))
    ['y1', 'y2']
    """
    kept = set(missing) & set().union(*children.values())
    while True:
        bound = {name for name in kept if children.get(name, set()) - kept}
        if not bound:
            return kept
        kept -= bound


def sets_of_size(size: int, sizes: Mapping[str, int], children: Mapping[str, set[str]]) -> list[set[str]]:
    """All sets of sites of a total size that depend on others, and on which no other site depends; some, if there are very many.

    >>> sets_of_size(5, {"a": 1, "b": 4, "y": 5}, {"a": {"y"}, "b": {"y"}})
    [{'y'}]
    """
    found: list[set[str]] = []
    dependent = set[str]().union(*children.values())
    for candidate in _closed_sets([name for name in sizes if name in dependent], children):
        if sum(sizes[name] for name in candidate) == size:
            found.append(candidate)
    return found


def _closed_sets(names: list[str], children: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Sets of sites that hold all that depends on one of them, the small ones first."""
    seen, pending = {frozenset[str]()}, [frozenset[str]()]
    while pending and len(seen) < _MOST_SETS:
        current = pending.pop(0)
        for name in names:
            larger = current | {name}
            if name not in current and larger not in seen and children.get(name, set()) <= current:
                seen.add(larger)
                pending.append(larger)
                yield set(larger)
