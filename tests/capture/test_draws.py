"""Random numbers drawn into memory that does not lie row by row, dropout's among them, are eager ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

import ember
from ember import distributions as dist
from ember.capture import capture
from ember.capture.recording import draws
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam

from .native.programs import check

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1),
    "permuted": lambda x: x.permute(2, 0, 1),
    "every second": lambda x: x.transpose(1, 2)[:, ::2],
    "expanded": lambda x: x[:, :1].expand(6, 5, 4).transpose(0, 1),
}


def drawn(view: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    def run(flat: list[Tensor]) -> list[Tensor]:
        x = view(flat[0])
        return [
            torch.nn.functional.dropout(x, 0.3),
            torch.randn_like(x),
            torch.rand_like(x),
            torch.empty_like(x).normal_(1.0, 2.0),
            torch.empty_like(x).uniform_(-1.0, 3.0),
            torch.empty_like(x).log_normal_(),
            torch.empty_like(x).geometric_(0.3),
            torch.empty_like(x).bernoulli_(0.4) + x,
        ]

    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", VIEWS)
def test_draws_in_c_follow_memory_as_torch_does(name: str, dtype: torch.dtype) -> None:
    check(drawn(VIEWS[name]), torch.randn(6, 5, 4, dtype=dtype), steps=2)


@pytest.mark.parametrize("name", VIEWS)
def test_a_recorded_dropout_draws_what_it_drew(name: str) -> None:
    x = torch.ones(6, 5, 4)
    run = drawn(VIEWS[name])
    graph = capture(run, [x])
    torch.manual_seed(2)
    expected = run([x])
    torch.manual_seed(2)
    with torch.no_grad():
        results = graph.module(x)
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride()


@pytest.mark.parametrize("by_memory", [True, False])
def test_its_layout_is_the_recorded_one_in_either_order(
    by_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "_draws_by_memory", lambda: by_memory)
    graph = capture(drawn(VIEWS["permuted"]), [torch.ones(6, 5, 4)])
    call = "call_function"
    assert not graph.graph.find_nodes(op=call, target=torch.ops.aten.bernoulli_.float)
    found = [node for node in graph.graph.nodes if getattr(node.meta.get("ember"), "shape", ()) == (4, 6, 5)]
    dropped = [node for node in found if node.target is torch.ops.aten.permute.default][1:]
    assert len(dropped) == 2 and all(node.meta["ember"].stride == (1, 20, 4) for node in dropped)
    with torch.no_grad():
        assert graph.module(torch.ones(6, 5, 4))[0].stride() == (1, 20, 4)


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_a_transformer_in_training(backend: Literal["native", "interpreter"]) -> None:
    x = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))

    def losses(compile: bool) -> list[float]:
        ember.clear_param_store()
        ember.set_rng_seed(0)
        layer = torch.nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True)

        def model() -> None:
            ember.module("layer", layer)
            slope = ember.sample("slope", dist.Normal(0.0, 1.0))
            with ember.plate("rows", 6):
                ember.sample("y", dist.Normal(slope * layer(x).mean((1, 2)), 0.5), obs=torch.ones(6))

        guide = AutoNormal(ember.poutine.block(model, expose=["slope"]))
        svi = SVI(
            model,
            guide,
            Adam({"lr": 1e-3}),
            Trace_ELBO(),
            compile=compile,
            backend=backend if compile else None,
        )
        return [svi.step() for _ in range(5)]

    compiled = losses(compile=True)
    assert compiled == pytest.approx(losses(compile=False), rel=1e-4)
