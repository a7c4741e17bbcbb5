"""Every operator on lists of tensors gives torch's numbers, and leaves in place what torch leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ember.capture.native.lowering.foreach import is_foreach, one_tensor
from tests.capture.native.lowering.row_examples import overload
from tests.capture.native.programs import QUICK, check, flags

SHAPES = ((3,), (), (2, 2))
BY_TORCH = {"_foreach_powsum.Scalar"}
"""Without an operator on one tensor."""
UNDECIDED = {"_foreach_copy.default", "_foreach_zero.default"}
"""Never seen in a graph: programs call those in place."""


def names() -> list[str]:
    """All operators on lists that do not write to tensors given as outputs."""
    found = []
    for full in sorted(torch._C._dispatch_get_all_op_names()):
        plain = full.removeprefix("aten::")
        if not full.startswith("aten::_foreach_"):
            continue
        name = plain if "." in plain else f"{plain}.default"
        if not any(argument.is_out for argument in overload(name)._schema.arguments):
            found.append(name)
    return found


def arguments(name: str, lists: dict[str, list[Tensor]]) -> list[Any]:
    """Arguments for an operator: its lists of tensors from these, other things by their types."""
    made: list[Any] = []
    for argument in overload(name)._schema.arguments:
        kind = str(argument.type)
        if kind == "List[Tensor]":
            made.append(lists[argument.name])
        elif kind == "List[number]":
            made.append([2.0, 0.5, 1.5])
        elif kind == "Tensor":
            made.append(torch.tensor([0.5, 0.7, 0.9]) if argument.name == "scalars" else torch.tensor(0.7))
        elif kind == "number" and not argument.kwarg_only:
            made.append(0.6)
    return made


def drawn(name: str) -> list[Tensor]:
    """Tensors for the lists of an operator, between 0.1 and 0.9."""
    generator = torch.Generator().manual_seed(len(name))
    lists = sum(str(argument.type) == "List[Tensor]" for argument in overload(name)._schema.arguments)
    shapes = ((2, 2),) * 3 if name.startswith("_foreach_mm") else SHAPES
    return [0.1 + 0.8 * torch.rand(shape, generator=generator) for _ in range(lists) for shape in shapes]


def called(name: str, flat: list[Tensor]) -> list[Tensor]:
    """The operator on copies in memory of their own: its results, or what it wrote."""
    schema = overload(name)._schema.arguments
    parts = [a.name for a in schema if str(a.type) == "List[Tensor]"]
    lists = {part: [t.clone() for t in flat[3 * k : 3 * k + 3]] for k, part in enumerate(parts)}
    keywords = {"alpha": 1.5} if any(a.name == "alpha" for a in schema) else {}
    result = overload(name)(*arguments(name, lists), **keywords)
    return list(result) if result is not None and len(result) else lists["self"]


NAMES = [name for name in names() if name not in UNDECIDED]


@pytest.mark.parametrize("start", range(0, len(NAMES), 40))
def test_operators_on_lists(start, float64):
    chosen = NAMES[start : start + 40]
    inputs = [drawn(name) for name in chosen]

    def every(flat: list[Tensor]) -> list[Tensor]:
        remaining = list(flat)
        outputs = []
        for name, own in zip(chosen, inputs, strict=True):
            outputs += called(name, [remaining.pop(0) for _ in own])
        return outputs

    with flags(*QUICK):
        check(every, *(tensor for own in inputs for tensor in own))


def test_every_operator_on_lists_has_one_on_a_tensor():
    assert len(NAMES) > 100
    assert {name for name in NAMES if one_tensor(overload(name)) is None} == BY_TORCH & set(NAMES)
    assert not is_foreach(torch.ops.aten.add.Tensor)


def test_tensors_that_share_memory_are_changed_one_after_another():
    def shared(flat: list[Tensor]) -> list[Tensor]:
        (x,) = flat
        y = x * 1.0
        torch._foreach_add_([y, y[:2], y[1:]], [y, x[1:], 2 * y[1:]])
        return [y]

    check(shared, torch.arange(3.0))


def test_a_list_of_integers_and_norms():
    def function(flat: list[Tensor]) -> list[Tensor]:
        floats = [flat[0], flat[0] * 3]
        steps = [flat[1], flat[1] + 1]
        torch._foreach_add_(steps, 1)
        norms = [torch._foreach_norm(floats, order) for order in (1, 2, float("inf"), 0.5)]
        return [*steps, *(norm for one in norms for norm in one)]

    check(function, torch.linspace(-1, 1, 7), torch.arange(3))


def test_results_written_to_given_tensors():
    def function(flat: list[Tensor]) -> list[Tensor]:
        x, y = flat
        torch.maximum(x, y, out=x)
        whole = torch.zeros(3, 4, dtype=torch.float64)
        torch.add(x, y, alpha=2, out=whole[1])
        values, places = torch.zeros(2), torch.zeros(2, dtype=torch.int64)
        torch.topk(x, 2, out=(values, places))
        return [whole, values, places, torch.exp(y, out=torch.empty(4))]

    check(function, torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([0.5, 0.0, float("nan"), -1.0]))
