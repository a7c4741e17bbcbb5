"""What a walk through programs finds, what it leaves out, and how much of it is looked at again."""

from __future__ import annotations

import functools
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from ember.capture.state.contents import content_part
from ember.capture.state.facts import Layouts
from ember.capture.state.reads import reads_of
from ember.capture.state.world import scan

LEVEL = 1.0
TABLE: dict[str, Any] = {"a": [1.0, 2.0]}


def test_reads_are_globals_free_variables_attributes_and_imports() -> None:
    outer = 1.0

    def program(x: Any) -> Any:
        import math
        from fractions import Fraction

        def inner() -> Any:
            return x.beta + LEVEL

        return inner() + outer + torch.nn.functional.relu(x) + math.pi + Fraction(1)

    found = reads_of(program.__code__)
    assert {("LEVEL",), ("torch", "nn", "functional", "relu")} <= found.globals
    assert "outer" in found.free and "x" not in found.free
    assert "beta" in found.attributes and not found.by_text
    assert {("math",), ("fractions", "Fraction")} <= found.imports


@pytest.mark.parametrize("read", [lambda o: vars(o), lambda o: getattr(o, f"a{1}"), lambda o: o.__dict__])
def test_names_that_are_computed_are_known_as_such(read: Any) -> None:
    assert reads_of(read.__code__).by_text


def test_a_name_in_a_text_is_an_attribute() -> None:
    found = reads_of((lambda o: getattr(o, "beta")).__code__)  # noqa: B009
    assert "beta" in found.attributes and not found.by_text


def test_labels_say_what_has_changed() -> None:
    world = scan([("the model", lambda: TABLE["a"][1])])
    assert world.holds() and not world.unseen
    TABLE["a"][1] = 3.0
    try:
        assert not world.holds() and world.first_difference() == "'TABLE'['a']"
    finally:
        TABLE["a"][1] = 2.0


def test_equal_values_give_equal_keys_and_others_do_not() -> None:
    def keyed(value: Any) -> Any:
        return scan([("value", value)]).key

    assert keyed({"a": 1.0}) == keyed({"a": 1.0}) != keyed({"a": 1})
    assert keyed([0.0]) != keyed([-0.0]) and keyed([float("nan")]) == keyed([float("nan")])
    x = torch.zeros(2)
    assert keyed([x]) == keyed([x]) != keyed([torch.zeros(2)])
    assert (
        keyed(functools.partial(max, 1))
        == keyed(functools.partial(max, 1))
        != keyed(functools.partial(max, 2))
    )
    assert keyed(np.array([1.0])) == keyed(np.array([1.0])) != keyed(np.array([2.0]))


def test_cycles_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert scan([("loop", loop)]).holds()


def test_attributes_that_no_code_names_do_not_count() -> None:
    class Holder:
        def __init__(self) -> None:
            self.beta = 1.0
            self.log: list[str] = []

        def program(self) -> float:
            return self.beta

    holder = Holder()
    world = scan([("the model", holder.program)])
    holder.log.append("written by nobody's program")
    assert world.holds()
    holder.beta = 2.0
    assert not world.holds()


def test_streams_of_random_numbers_are_told_apart() -> None:
    generator = random.Random(0)
    world = scan([("the model", lambda: generator.random())])
    generator.random()
    assert not world.holds() and world.has_drawn()


def test_what_cannot_be_watched_is_named() -> None:
    numbers = (n for n in range(3))
    assert scan([("the model", lambda: next(numbers))]).unseen == ("'numbers', a generator",)
    large = np.zeros(1 << 20)
    assert scan([("the model", lambda: large[0])]).unseen == ("'large', a ndarray",)


def test_contents() -> None:
    assert content_part(Fraction(1, 2)) == content_part(Fraction(2, 4)) != content_part(Fraction(1, 3))
    assert content_part(n for n in range(3)) is None


def test_layouts_see_what_changes_behind_an_object() -> None:
    x = torch.arange(4.0).reshape(2, 2)
    for change in (lambda: x.t_(), lambda: x.requires_grad_(), lambda: setattr(x, "data", torch.zeros(2, 2))):
        layouts = Layouts([x])
        assert layouts.same() and layouts.first_difference() is None
        change()
        assert not layouts.same() and layouts.first_difference() == 0
