"""Where recorded operators say that they came from."""

from __future__ import annotations

import sys

import pytest
import torch

import ember
import ember.distributions as dist
from ember.capture import Interpreter, capture
from ember.capture.recording.provenance import works_for
from ember.infer import SVI, Trace_ELBO
from ember.infer.step import recording as captured_step
from ember.optim import SGD, Adam, ClippedAdam

aten = torch.ops.aten
FILE = "test_provenance.py"


def line_here() -> int:
    return sys._getframe(1).f_lineno


def origins(graph):
    return {node.target: node.meta["origin"] for node in graph.graph.nodes if node.op == "call_function"}


@works_for("part {!r}", "part")
def scaled(value, part):
    return value * 2


def test_lines_parts_and_backward():
    lines = {}

    def program(flat):
        leaf = flat[0].detach().requires_grad_()
        lines["exp"] = line_here() + 1
        value = leaf.exp()
        lines["mul"] = line_here() + 1
        value = scaled(value, part="a")
        with torch.no_grad():
            lines["sin"] = line_here() + 1
            flat[1].sin_()
        lines["tanh"] = line_here() + 1
        loss = torch.nn.functional.softplus(value).sum()
        return list(torch.autograd.grad(loss, leaf))

    found = origins(capture(program, [torch.ones(2), torch.ones(2)]))
    assert found[aten.exp.default] == f"{FILE}:{lines['exp']}"
    assert found[aten.sin_.default] == f"{FILE}:{lines['sin']}"
    assert found[aten.softplus.default] == f"{FILE}:{lines['tanh']}"
    assert found[aten.softplus_backward.default] == f"backward of {FILE}:{lines['tanh']}"
    # Of the two products the later one is shown: that of the backward pass.
    assert found[aten.mul.Tensor] == f"backward of {FILE}:{lines['exp']}"


def test_a_marked_function_is_the_same_and_its_name_is_found():
    assert scaled(2.0, "a") == 4.0 and scaled.__name__ == "scaled"
    graph = capture(lambda flat: [scaled(flat[0], "b")], [torch.ones(2)])
    # The line of the call: what is below is the marked function's own affair.
    line = line_here() - 2
    assert origins(graph) == {aten.mul.Tensor: f"{FILE}:{line}, part 'b'"}


def test_second_backward():
    def program(flat):
        leaf = flat[0].detach().requires_grad_()
        (first,) = torch.autograd.grad(leaf.exp().sum(), leaf, create_graph=True)
        return list(torch.autograd.grad(first.sum(), leaf))

    for origin in origins(capture(program, [torch.ones(2)])).values():
        assert FILE in origin


def fit(optimizer, steps=3):
    """The graph of a step of a small model."""
    graphs = []
    real = captured_step.capture

    def keep(function, inputs, *rest):
        graphs.append(real(function, inputs, *rest))
        return graphs[-1]

    def model(data):
        mu = ember.sample("mu", dist.Normal(0.0, 2.0))
        ember.sample("x", dist.Normal(mu.tanh(), 0.5), obs=data)

    def guide(data):
        scale = ember.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        ember.sample("mu", dist.Normal(ember.param("loc", torch.tensor(0.1)), scale))

    ember.clear_param_store()
    svi = SVI(model, guide, optimizer, Trace_ELBO(), compile=True)
    svi.programs.backend = Interpreter()
    captured_step.capture = keep
    try:
        for _ in range(steps):
            svi.step(torch.tensor(0.3))
    finally:
        captured_step.capture = real
        ember.clear_param_store()
    return graphs[0].graph, model, guide


def test_sites_of_a_step():
    graph, model, guide = fit(Adam({"lr": 0.1}))
    found = [(node.target, node.meta["origin"]) for node in graph.nodes if node.op == "call_function"]
    texts = {origin for _, origin in found}
    guide_line, model_line = guide.__code__.co_firstlineno, model.__code__.co_firstlineno
    assert (aten.exp.default, f"{FILE}:{guide_line + 1}, param 'scale'") in found
    assert (aten.tanh.default, f"{FILE}:{model_line + 2}") in found
    assert (aten.tanh_backward.default, f"backward of {FILE}:{model_line + 2}") in found
    draw = [
        origin for target, origin in found if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())
    ]
    assert draw == [f"{FILE}:{guide_line + 2}, site 'mu'"]
    assert {"site 'mu'", "site 'x'", "backward of site 'x'"} <= texts
    assert all(origin for _, origin in found)


@pytest.mark.parametrize("kind", [Adam, SGD], ids=lambda kind: kind.__name__)
def test_parameters_of_an_optimizer(kind):
    graph, _, _ = fit(kind({"lr": 0.1}))
    texts = {node.meta["origin"] for node in graph.nodes if node.op == "call_function"}
    updates = {text for text in texts if ": loc" in text or ": scale" in text}
    # Together they are updated in one flat buffer.
    assert {text.split(": ")[1] for text in updates} == {"loc", "scale", "scale, loc"}, texts
    assert len({text.split(": ")[0] for text in updates}) == 1


def test_an_optimizer_that_updates_all_parameters_at_once():
    graph, _, _ = fit(ClippedAdam({"lr": 0.1}))
    origins = {node.meta["origin"] for node in graph.nodes if node.op == "call_function"}
    assert "ClippedAdam: scale, loc" in origins
