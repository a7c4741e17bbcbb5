"""One walk over nested values: arguments, results and settings that hold tensors somewhere inside.

Branches are lists, tuples (named ones too), deques, sets, mappings, dataclasses, attrs classes, plain namespaces and partial
functions; all else is a leaf: tensors, arrays, numbers, modules, objects of other classes. Values that hold themselves are not
supported.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

T = TypeVar("T")
Leaf = Any
Items = Sequence[Any]


class Branch(NamedTuple):
    """A value that holds others, taken apart; two values are alike if kind, names and all items are."""

    kind: type
    names: Hashable
    """What tells the items apart beside their order: keys or fields; None for sequences."""
    items: Items


class _Rule(NamedTuple):
    """How values of a class are taken apart and put together."""

    names: Callable[[Any], Hashable]
    items: Callable[[Any], Items]
    rebuilt: Callable[[Any, list[Any]], Any]
    """From a value and other items to a value like it."""


def _no_names(value: object) -> None:
    return None


def _copied_sequence(value: Any, items: list[Any]) -> Any:
    new = copy.copy(value)
    new[:] = items
    return new


def _copied_mapping(value: Any, items: list[Any]) -> Any:
    if not isinstance(value, MutableMapping):
        return type(value)(dict(zip(value, items, strict=True)))
    # A copy keeps what else there is, such as a factory of defaults.
    new = copy.copy(value)
    for key, item in zip(value, items, strict=True):
        new[key] = item
    return new


def _copied_fields(names: Callable[[Any], tuple[str, ...]]) -> Callable[[Any, list[Any]], Any]:
    def rebuilt(value: object, items: list[Any]) -> Any:
        # A shallow copy instead of a call: fields that __init__ does not take come along, and frozen ones can be set.
        new = copy.copy(value)
        for name, item in zip(names(value), items, strict=True):
            object.__setattr__(new, name, item)
        return new

    return rebuilt


def _object_rule(names: Callable[[Any], tuple[str, ...]]) -> _Rule:
    def items(value: object) -> Items:
        return [getattr(value, name) for name in names(value)]

    return _Rule(names, items, _copied_fields(names))


def _declared(names: list[str]) -> _Rule:
    """For classes that declare their fields; a field may be unset."""
    declared = tuple(names)
    return _object_rule(lambda value: tuple([name for name in declared if hasattr(value, name)]))


_LIST = _Rule(_no_names, list, lambda value, items: items)
_TUPLE = _Rule(_no_names, lambda value: value, lambda value, items: tuple(items))
_DICT = _Rule(
    tuple, lambda value: list(value.values()), lambda value, items: dict(zip(value, items, strict=True))
)
_MAPPING = _Rule(tuple, lambda value: [value[key] for key in value], _copied_mapping)
_SET = _Rule(_no_names, list, lambda value, items: type(value)(items))
_DEQUE = _Rule(lambda value: value.maxlen, list, lambda value, items: type(value)(items, value.maxlen))
_PARTIAL = _Rule(
    lambda value: (value.func,),
    lambda value: [value.args, value.keywords],
    lambda value, items: type(value)(value.func, *items[0], **items[1]),
)
_NAMESPACE = _object_rule(lambda value: tuple(vars(value)))

_RULES: dict[type, _Rule | None] = {list: _LIST, tuple: _TUPLE, dict: _DICT}
_RULES.update(dict.fromkeys((Tensor, int, float, bool, str, bytes, complex, type(None))))
_RULES_OF_OTHERS: WeakKeyDictionary[type, _Rule | None] = WeakKeyDictionary()


def _rule_of(kind: type) -> _Rule | None:
    try:
        return _RULES[kind]
    except KeyError:
        pass
    try:
        return _RULES_OF_OTHERS[kind]
    except KeyError:
        rule = _RULES_OF_OTHERS[kind] = _new_rule(kind)
        return rule


def _new_rule(kind: type) -> _Rule | None:
    if dataclasses.is_dataclass(kind):
        return _declared([field.name for field in dataclasses.fields(kind)])
    attributes = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return _declared([attribute.name for attribute in attributes])
    if issubclass(kind, tuple):
        make = getattr(kind, "_make", kind)
        return _Rule(_no_names, lambda value: value, lambda value, items: make(items))
    for base, rule in _OF_BASES.items():
        if issubclass(kind, base):
            return rule
    return None


_OF_BASES: dict[type, _Rule] = {
    list: _Rule(_no_names, list, _copied_sequence),
    deque: _DEQUE,
    Mapping: _MAPPING,
    set: _SET,
    frozenset: _SET,
    AbstractSet: _SET,
    SimpleNamespace: _NAMESPACE,
    argparse.Namespace: _NAMESPACE,
    functools.partial: _PARTIAL,
}


def branch(value: object) -> Branch | None:
    """A value taken apart, or None for a leaf.

    >>> branch({"a": 1, "b": [2]})
    Branch(kind=<class 'dict'>, names=('a', 'b'), items=[1, [2]])
    """
    kind = type(value)
    rule = _rule_of(kind)
    return None if rule is None else Branch(kind, rule.names(value), rule.items(value))


def is_leaf(value: object) -> bool:
    """Whether a value holds no others."""
    return _rule_of(type(value)) is None


def leaves(value: object) -> list[Leaf]:
    """The leaves of a value, from left to right.

    >>> leaves({"a": 1, "b": [2, (3,)]})
    [1, 2, 3]
    """
    found: list[Leaf] = []
    _gather(value, found)
    return found


def _gather(value: object, found: list[Leaf]) -> None:
    rule = _rule_of(type(value))
    if rule is None:
        found.append(value)
        return
    for item in rule.items(value):
        _gather(item, found)


def tensors(value: object) -> list[Tensor]:
    """The tensors among the leaves of a value."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]


def structure(value: object) -> Hashable:
    """What is left of a value without its leaves; equal for values that are alike.

    >>> structure([1, (2, 3)]) == structure([4, (5, 6)]), structure([1, 2]) == structure((1, 2))
    (True, False)
    """
    apart = branch(value)
    if apart is None:
        return None
    return (apart.kind, apart.names, tuple([structure(item) for item in apart.items]))


def map_leaves(fn: Callable[..., Any], value: T, *others: object) -> T:
    """A value of the same structure, with ``fn(leaf, ...)`` in the place of each leaf.

    Args:
        fn: takes a leaf of ``value`` and those of ``others`` at the same place.
        value: what to rebuild.
        others: values of the same structure.

    Raises:
        ValueError: if the structures differ.

    >>> map_leaves(lambda a, b: a + b, {"a": 1, "b": [2]}, {"a": 10, "b": [20]})
    {'a': 11, 'b': [22]}
    """
    rule = _rule_of(type(value))
    if rule is None:
        result: T = fn(value, *others)
        return result
    columns = [rule.items(value), *(_items_in_order(rule, value, other) for other in others)]
    rebuilt: T = rule.rebuilt(value, [map_leaves(fn, *row) for row in zip(*columns, strict=True)])
    return rebuilt


def _items_in_order(rule: _Rule, value: Any, other: Any) -> Items:
    """The items of another value of the same structure, where keys may come in another order."""
    names = rule.names(value)
    if type(other) is type(value):
        found = rule.names(other)
        if found == names:
            return rule.items(other)
        if isinstance(names, tuple) and isinstance(found, tuple) and set(found) == set(names):
            by_name = dict(zip(found, rule.items(other), strict=True))
            return [by_name[name] for name in names]
    raise ValueError(f"expected {type(value).__name__} of {names}, got {other!r}")


def map_tensors(fn: Callable[[Tensor], Any], value: T) -> T:
    """The same for the tensors alone; other leaves stay as they are."""
    return map_leaves(lambda leaf: fn(leaf) if isinstance(leaf, Tensor) else leaf, value)


def with_leaves(value: T, others: Sequence[Leaf]) -> T:
    """The value with other leaves in the place of its own, in the order of :func:`leaves`."""
    remaining = iter(others)
    return map_leaves(lambda leaf: next(remaining), value)


def with_tensors(value: T, others: Sequence[Tensor] | Iterator[Tensor]) -> T:
    """The value with other tensors in the place of its own, in the order of :func:`tensors`."""
    remaining = iter(others)
    return map_tensors(lambda tensor: next(remaining), value)


def join(fn: Callable[[list[Any]], Any], values: Sequence[T]) -> T:
    """One value of several of the same structure: ``fn`` makes one leaf of a list of leaves.

    >>> join(sum, [{"a": 1}, {"a": 2}, {"a": 3}])
    {'a': 6}
    """
    first, *rest = values
    return map_leaves(lambda *parts: fn(list(parts)), first, *rest)
