"""Loops that differ in their memory only are written once, and compute the same as before."""

from __future__ import annotations

import torch

from ember.capture import Native, capture
from ember.capture.native.c_writer.outline import outlined


def test_equal_loops_become_one_function():
    blocks = [
        ["/* 0: a loop */", "{", f"x{k}[i0] = ((float *)(A + {64 * k}))[{k} + 2 * i0];", "}"]
        for k in range(4)
    ]
    blocks.append(["{", "x9[i0] = ((float *)(A + 64))[3 * i0];", "}"])
    functions, calls = outlined(blocks, lambda number: "float")
    assert len(functions) == 1 and "p1_[2 * i0]" in functions[0], functions
    assert calls[0] == ["/* 0: a loop */", "loop_0(x0, ((float *)(A + 0)), failed);"]
    assert calls[3][1] == "loop_0(x3, ((float *)(A + 192)) + 3, failed);"
    assert calls[4] == blocks[4]


def test_other_numbers_types_and_patterns_of_pointers_stay_apart():
    def block(number: str, first: str, second: str) -> list[str]:
        return [f"{first}[i0] = {number} * {second}[i0];"]

    same = [block("2.0f", "x1", "x2")] * 3
    others = [block("3.0f", "x1", "x2"), block("2.0f", "x1", "x1"), block("2.0f", "x1", "x5")]
    functions, calls = outlined(same + others, lambda number: "double" if number == 5 else "float")
    assert len(functions) == 1
    assert calls[3:] == others


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
