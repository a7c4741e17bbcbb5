"""The walk over nested values, over every kind of branch."""

from __future__ import annotations

import argparse
import dataclasses
from collections import OrderedDict, UserDict, defaultdict, deque
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch

from ember import tree


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Data:
    x: Any
    y: Any
    made: Any = dataclasses.field(init=False, default=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Any
    y: Any


class Attrs:
    """What a class made by attrs looks like from outside."""

    __attrs_attrs__ = (SimpleNamespace(name="x"), SimpleNamespace(name="y"))

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)


class Named(list):
    label = ""


def named(items):
    new = Named(items)
    new.label = "kept"
    return new


BRANCHES = {
    "list": [1, 2],
    "list subclass": named([1, 2]),
    "tuple": (1, 2),
    "named tuple": Pair(1, 2),
    "size": torch.Size([1, 2]),
    "dict": {"x": 1, "y": 2},
    "ordered": OrderedDict(x=1, y=2),
    "defaults": defaultdict(list, x=1, y=2),
    "user dict": UserDict(x=1, y=2),
    "proxy": MappingProxyType({"x": 1, "y": 2}),
    "deque": deque([1, 2], maxlen=5),
    "set": {1, 2},
    "frozen set": frozenset({1, 2}),
    "frozen": Frozen(1, 2),
    "attrs": Attrs(1, 2),
    "namespace": SimpleNamespace(x=1, y=2),
    "arguments": argparse.Namespace(x=1, y=2),
}


@pytest.mark.parametrize("value", BRANCHES.values(), ids=BRANCHES)
def test_branches(value):
    assert tree.leaves(value) == [1, 2]
    same = tree.map_leaves(lambda leaf: leaf, value)
    assert same == value and type(same) is type(value) and (same is not value)
    assert tree.leaves(tree.map_leaves(lambda leaf: leaf + 1, value)) == [2, 3]
    assert tree.leaves(value) == [1, 2]
    assert tree.structure(value) == tree.structure(same)
    assert hash(tree.structure(value)) == hash(tree.structure(same))


def test_structures_tell_branches_apart():
    structures = [tree.structure(value) for value in BRANCHES.values()]
    assert len(set(structures)) == len(structures)
    assert tree.structure({"x": 1}) != tree.structure({"y": 1})
    assert tree.structure([1, [2]]) != tree.structure([[1], 2])


@pytest.mark.parametrize("leaf", [1, "text", None, torch.ones(2), torch.nn.Linear(1, 1), object()])
def test_leaves_are_left_alone(leaf):
    assert tree.branch(leaf) is None and tree.is_leaf(leaf)
    assert tree.leaves(leaf)[0] is leaf and tree.map_tensors(lambda x: x, leaf) is leaf


def test_what_is_no_item_comes_along():
    value = Data(1, 2)
    value.made, value.note = 3, "note"
    new = tree.map_leaves(lambda leaf: leaf * 2, value)
    assert (new.x, new.y, new.made, new.note) == (2, 4, 6, "note")
    assert tree.map_leaves(lambda leaf: leaf, BRANCHES["list subclass"]).label == "kept"
    assert tree.map_leaves(lambda leaf: leaf, BRANCHES["defaults"])["new"] == []
    assert tree.map_leaves(lambda leaf: leaf, BRANCHES["deque"]).maxlen == 5


def test_a_field_may_be_unset():
    value = Data(1, 2)
    del value.x
    assert tree.leaves(value) == [2, 0]
    assert not hasattr(tree.map_leaves(lambda leaf: leaf, value), "x")


def test_tensors_only():
    a, b = torch.ones(2), torch.zeros(1)
    value = {"a": a, "rest": [Pair("text", b), 1]}
    assert [id(t) for t in tree.tensors(value)] == [id(a), id(b)]
    doubled = tree.map_tensors(lambda x: 2 * x, value)
    assert torch.equal(doubled["a"], 2 * a) and doubled["rest"][0].x == "text" and doubled["rest"][1] == 1
    swapped = tree.with_tensors(value, [b, a])
    assert swapped["a"] is b and swapped["rest"][0].y is a


def test_several_values_at_once():
    assert tree.join(sum, [[1, {"a": 2}], [10, {"a": 20}]]) == [11, {"a": 22}]
    assert tree.join(sum, [{"x": 1, "y": 2}, {"y": 20, "x": 10}]) == {"x": 11, "y": 22}
    for other in ([1, 2, 3], (1, 2), [1]):
        with pytest.raises(ValueError):
            tree.map_leaves(lambda a, b: a, [1, 2], other)
    with pytest.raises(ValueError, match="expected dict"):
        tree.map_leaves(lambda a, b: a, {"x": 1}, {"y": 1})


def test_packed_sequences_keep_their_class():
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)])
    new = tree.map_tensors(lambda x: 2 * x, packed)
    assert type(new) is type(packed) and torch.equal(new.data, 2 * packed.data)
