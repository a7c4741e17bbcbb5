"""Names that Pyro's modules only import from elsewhere, and private names that libraries reach for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import ember
import ember.distributions as dist
from ember.pyro import surface


@pytest.mark.parametrize(
    "path, name, home",
    [
        ("pyro.distributions.util", "broadcast_all", torch.distributions.utils.broadcast_all),
        ("pyro.distributions.util", "logsumexp", torch.logsumexp),
        ("pyro.distributions.util", "torch", torch),
        ("pyro.infer.svi", "torch_item", ember.ops.scalars.torch_item),
        ("pyro.optim.optim", "Optimizer", torch.optim.Optimizer),
    ],
)
def test_what_is_passed_on_is_the_object_itself(alias: None, path: str, name: str, home: object) -> None:
    module = __import__(path, fromlist=[name])
    assert getattr(module, name) is home


def test_deep_to_moves_the_tensors_of_a_distribution(alias: None) -> None:
    from pyro.distributions.util import deep_to

    normal = torch.distributions.Normal(torch.zeros(2), 1.0)
    assert deep_to(normal, torch.float64).loc.dtype == torch.float64
    assert normal.loc.dtype == torch.float32


def test_a_name_that_is_passed_on_by_nobody() -> None:
    with pytest.raises(LookupError, match="passes on no 'wibble'"):
        surface.passed_on("pyro.infer", "wibble")


def test_a_handler_of_ones_own(alias: None) -> None:
    from pyro.poutine.handlers import _make_handler
    from pyro.poutine.messenger import Messenger

    class Twice(Messenger):
        """Doubles draws."""

        def __init__(self, factor: float = 2.0) -> None:
            self.factor = factor

        def _pyro_post_sample(self, msg: dict) -> None:  # type: ignore[type-arg]
            msg["value"] = msg["value"] * self.factor

    @_make_handler(Twice, "some.module")
    def twice(fn=None, factor=2.0): ...

    def model() -> torch.Tensor:
        return ember.sample("x", dist.Delta(torch.tensor(3.0)))

    assert twice(model)().item() == 6.0 and twice(model, factor=3.0)().item() == 9.0
    with twice(factor=4.0):
        assert model().item() == 12.0
    assert twice.__name__ == "twice" and twice.__module__ == "some.module" and "Doubles" in twice.__doc__
    with pytest.raises(ValueError, match="is not callable"):
        twice(3)


@pytest.mark.parametrize(
    "options, hidden", [({}, True), ({"expose": ["x"]}, False), ({"hide": ["y"]}, False)]
)
def test_the_default_of_block(alias: None, options: dict[str, list[str]], hidden: bool) -> None:
    from pyro.poutine.block_messenger import _make_default_hide_fn

    given = {key: options.get(key) for key in ("hide", "expose", "hide_types", "expose_types")}
    decide = _make_default_hide_fn(True, False, *given.values())
    with ember.poutine.trace() as tr:
        ember.sample("x", dist.Normal(0.0, 1.0))
    assert decide(tr.trace.nodes["x"]) is hidden


def test_breaking_plates(alias: None) -> None:
    from pyro.infer.autoguide.gaussian import _break_plates

    outer, inner = SimpleNamespace(dim=-2, size=3), SimpleNamespace(dim=-1, size=4)
    x = torch.arange(24.0).reshape(3, 4, 2)
    both = [outer, inner]
    assert torch.equal(_break_plates(x, both, both), x)
    # Of each kept row: all values in the rows of the other plate, one after the other.
    assert torch.equal(_break_plates(x, both, [inner])[1], x[:, 1].reshape(-1))
    assert torch.equal(_break_plates(x, both, [outer]), x.reshape(3, 1, 8))
    assert torch.equal(_break_plates(x, both, []), x.reshape(-1))
    with pytest.raises(AssertionError, match=r"\(4,\) for plates of shape \(3, 4\)"):
        _break_plates(x[0], both, [inner])


def test_matrix_products_in_logs(alias: None) -> None:
    from pyro.distributions.hmm import _sequential_logmatmulexp

    logits = torch.randn(5, 3, 3)
    product = torch.linalg.multi_dot(list(logits.exp()))
    torch.testing.assert_close(_sequential_logmatmulexp(logits).exp(), product)
