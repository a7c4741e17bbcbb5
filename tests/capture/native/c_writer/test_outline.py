"""Loops that differ in their memory only are written once, and compute the same as before."""

from __future__ import annotations

import torch

from ember.capture import Native, capture
from ember.capture.native.c_writer.outline import outlined
from ember.capture.native.c_writer.places import Places, Pointers
from ember.capture.native.loops.structure import Nest, Placed, Schedule
from ember.capture.native.values.arrays import Access, Input, Pointwise
from ember.capture.native.values.expressions import Expression, Operand

FLOAT, DOUBLE = torch.float32, torch.float64
TWICE = Operand(0) * 2


class Nests:
    """Loops over nine elements, each of which writes a value to memory of its own."""

    def __init__(self) -> None:
        self.nests: list[Nest] = []
        self.offsets: dict[Pointwise, int] = {}

    def add(
        self, source: Input | Pointwise, whole: Expression = TWICE, offset: int = 0, step: int = 2
    ) -> Pointwise:
        value = Pointwise(
            source.dtype,
            (9,),
            (1,),
            origin=f"site {len(self.nests)}",
            expression=whole,
            inputs=(Access(source, offset, (step,)),),
            types=(source.dtype,),
        )
        self.nests.append(Nest((9,), [value]))
        self.offsets[value] = 64 * len(self.offsets)
        return value

    def outlined(self) -> tuple[list[str], list[str | None]]:
        stored = dict.fromkeys(self.offsets, (0, 0))
        schedule = Schedule(list(self.nests), dict(stored), {}, [], (FLOAT,) * 8, ())
        functions, calls = outlined(self.nests, Places(Placed(schedule, dict(self.offsets), 4096)), "step")
        return functions, [calls[nest].call(Pointers()) if nest in calls else None for nest in self.nests]


def source(index: int, dtype: torch.dtype = FLOAT) -> Input:
    return Input(dtype, (40,), (1,), index=index)


def test_equal_loops_become_one_function():
    nests = Nests()
    for k in range(4):
        nests.add(source(k), offset=k)
    nests.add(source(5), step=3)
    functions, calls = nests.outlined()
    assert len(functions) == 1 and "p0_[2 * i0] * 2" in functions[0] and "p1_[i0] = v0" in functions[0]
    assert "site" not in functions[0]
    assert calls[0] == "step_loop_0(x0, ((float *)(A + 0)), failed);"
    assert calls[3] == "step_loop_0(x3 + 3, ((float *)(A + 192)), failed);"
    assert calls[4] is None


def test_other_numbers_types_and_patterns_of_pointers_stay_apart():
    nests = Nests()
    for k in range(3):
        nests.add(source(k))
    nests.add(source(1), Operand(0) * 3)
    nests.add(source(5, DOUBLE))
    shared = nests.add(source(6), TWICE + 1)
    nests.add(shared, TWICE + 1)
    functions, calls = nests.outlined()
    assert len(functions) == 1
    assert calls[3:] == [None] * 4


def test_a_chain_of_steps_in_time():
    torch.manual_seed(0)
    table, start = torch.randn(5, 5).log_softmax(-1), torch.randn(30, 5)
    observed = torch.randn(40, 30, 5)

    def run(flat):
        state, matrix = flat[0], flat[1].detach().requires_grad_()
        with torch.enable_grad():
            for t in range(40):
                state = torch.logsumexp(state.unsqueeze(-1) + matrix, -2) + observed[t]
            loss = state.logsumexp(-1).sum()
            (grad,) = torch.autograd.grad(loss, matrix)
        flat[1].sub_(0.01 * grad)
        return [loss.detach(), grad]

    inputs = [start, table.clone()]
    graph = capture(run, inputs)
    program = Native().compile(graph, [*inputs, *graph.lifted])
    assert "loop_0(" in program.source
    mine, theirs = [start, table.clone()], [start, table.clone()]
    for _ in range(3):
        found, expected = program([*mine, *graph.lifted]), run(theirs)
        torch.testing.assert_close(list(found), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine[1], theirs[1], rtol=1e-5, atol=1e-6)
