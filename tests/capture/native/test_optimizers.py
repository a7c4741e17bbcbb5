"""Every rule and every way to clip is written in C, with nothing left to torch; the numbers are those of the rules."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ember.capture.native import pipeline
from ember.capture.native.program import NativeProgram
from ember.capture.recording.graph import CapturedGraph, capture
from ember.optim import PyroOptim
from ember.optim.traced import TracedUpdate
from tests.optim.test_pure_rules import CASE, Case
from tests.optim.test_recorded import CLIPS, many
from tests.optim.training import give_gradient

RATES = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)


def recorded(
    case: Case, clip: dict[str, float], rates: Tensor | None = None
) -> tuple[CapturedGraph, list[Tensor]]:
    """The graph of a guarded update, and its inputs: parameters, gradients, whether the step is good, the optimizer's."""
    params = many()
    # A rule that is left to guess its rate says so.
    rate = {"lr": 0.01} if case.kind is torch.optim.SGD else {}
    optimizer = PyroOptim(case.kind, {**rate, **case.options}, clip)
    give_gradient(params, 0)
    optimizer(params)
    update = TracedUpdate(optimizer.plan(params), rates)
    n = len(params)

    def step(flat: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            update.apply(flat[:n], list(flat[n : 2 * n]), flat[2 * n + 1 :], flat[2 * n])
        return [flat[2 * n].double()]

    give_gradient(params, 1)
    grads = [param.grad for param in params if param.grad is not None]
    inputs = [*(param.detach() for param in params), *grads, torch.tensor(True), *update.tensors]
    return capture(step, inputs), inputs


def check_native(graph: CapturedGraph, inputs: list[Tensor]) -> None:
    source = pipeline.source(pipeline.Recording(graph.graph, [*inputs, *graph.lifted]))
    assert not source.externs.buffers


@CASE
def test_every_rule_is_native(case: Case) -> None:
    check_native(*recorded(case, {}))


@pytest.mark.parametrize("clip", CLIPS[1:], ids=lambda clip: "-".join(clip))
def test_every_clipping_is_native(clip: dict[str, float]) -> None:
    check_native(*recorded(Case(torch.optim.Adam, {}), clip))


@pytest.mark.parametrize("rates", [None, RATES], ids=["rate", "array"])
def test_the_numbers_are_those_of_the_rule(rates: Tensor | None) -> None:
    graph, inputs = recorded(Case(torch.optim.Adam, {"lr": 0.1}), {"clip_norm": 0.5}, rates)
    check_native(graph, inputs)
    copies = [tensor.clone() for tensor in inputs]
    program = NativeProgram(graph, [*copies, *graph.lifted])
    for good in (True, False, True, True, True):
        for tensors in (inputs, copies):
            tensors[16].fill_(good)
        graph.module(*inputs, *graph.lifted)
        program([*copies, *graph.lifted])
    torch.testing.assert_close(copies, inputs, rtol=1e-12, atol=1e-13)
