"""Compiled densities: the numbers of Python, native for all kinds of models, and never stale."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.capture.native.programs import QUICK, flags
from tests.infer.density.test_density import X, Y, finite_differences, hmm, mixture, regression
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine, settings
from ember.errors import ModelError
from ember.infer.density.density import Density
from ember.infer.reparam import AutoReparam
from ember.nn import PyroModule, PyroSample

pytestmark = pytest.mark.usefixtures("float64", "quick")


@pytest.fixture
def quick() -> Iterator[None]:
    with flags(*QUICK):
        yield


class Network(PyroModule):
    """A layer with random weights, and one with trained ones."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = PyroModule[torch.nn.Linear](2, 3)
        self.hidden.weight = PyroSample(dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
        self.out = PyroModule[torch.nn.Linear](3, 1)

    def forward(self, x: Tensor, y: Tensor) -> None:
        mean = self.out(torch.tanh(self.hidden(x))).squeeze(-1)
        with ember.plate("data", len(x)):
            ember.sample("y", dist.Normal(mean, 0.5), obs=y)


def gaussian_process(x: Tensor, y: Tensor) -> None:
    length = ember.sample("length", dist.LogNormal(0.0, 1.0))
    covariance = torch.exp(-((x[:, :1] - x[:, 0]) ** 2) / length) + 0.1 * torch.eye(len(x))
    ember.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), covariance), obs=y)


def walk(y: Tensor) -> None:
    scale = ember.sample("scale", dist.HalfNormal(1.0))

    def step(level: Tensor, seen: Tensor) -> tuple[Tensor, None]:
        level = ember.sample("level", dist.Normal(level, scale))
        ember.sample("y", dist.Normal(level, 0.5), obs=seen)
        return level, None

    ember.scan(step, torch.zeros(()), y)


def sequential(y: Tensor) -> None:
    for k in ember.plate("rows", len(y)):
        z = ember.sample(f"z{k}", dist.Laplace(0.0, 1.0))
        ember.sample(f"y{k}", dist.StudentT(3.0, z, 1.0), obs=y[k])


def correlated(y: Tensor) -> None:
    scales = ember.sample("scales", dist.HalfCauchy(1.0).expand([3]).to_event(1))
    corr = ember.sample("corr", dist.LKJCholesky(3, 1.0))
    with ember.plate("data", 4):
        ember.sample(
            "y",
            dist.MultivariateNormal(torch.zeros(3), scale_tril=scales[:, None] * corr),
            obs=y + torch.eye(4, 3),
        )


def grouped(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    with ember.plate("groups", len(y)):
        theta = ember.sample("theta", dist.Normal(mu, 2.0))
        ember.sample("y", dist.Normal(theta, 1.0), obs=y)


def automatic(y: Tensor) -> Any:
    return poutine.reparam(grouped, config=AutoReparam())(y)


def states(y: Tensor) -> None:
    """Gcc 12 has left out a piece of its gradient."""
    rows = ember.sample("rows", dist.Dirichlet(torch.ones(3, 3)).to_event(1))
    locs = ember.sample("locs", dist.Normal(torch.zeros(3), 3.0).to_event(1))
    z: Any = 0
    for t in ember.markov(range(len(y))):
        z = ember.sample(f"z{t}", dist.Categorical(rows[z]))
        ember.sample(f"y{t}", dist.Normal(locs[z], 1.0), obs=y[t])


MODELS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "regression": (regression, (X, Y)),
    "network": (Network, (X, Y)),
    "gaussian process": (gaussian_process, (X, Y)),
    "walk": (walk, (Y,)),
    "sequential plate": (sequential, (Y,)),
    "correlated": (correlated, (Y,)),
    "mixture": (mixture, (Y,)),
    "chain": (hmm, (Y,)),
    "states": (states, (Y,)),
    "reparameterised": (automatic, (Y,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_native_gives_the_numbers_of_python(name: str) -> None:
    made, args = MODELS[name]
    density = ember.density(made() if isinstance(made, type) else made, *args)
    u = 0.7 * torch.randn(6, density.dim)
    found = density(u)
    assert density.backend == "native", density.explain()
    python = Density(density.joint, compile=False)
    torch.testing.assert_close(found, python(u))
    torch.testing.assert_close(found[1], finite_differences(density, u), rtol=1e-5, atol=1e-5)
    with settings.context(threads=3):
        torch.testing.assert_close(density(u), found, rtol=0, atol=0)
    torch.testing.assert_close(density(u[2:3]), (found[0][2:3], found[1][2:3]), rtol=0, atol=0)
    values = density.constrain(u)
    torch.testing.assert_close(values, python.constrain(u))
    torch.testing.assert_close(density.unconstrain(values), u)


def test_data_changed_in_place_are_seen() -> None:
    x, y = X.clone(), Y.clone()
    density = ember.density(regression, x, y)
    u = torch.randn(5, 3)
    density(u)
    for change in (lambda: x.mul_(2), lambda: y.data.add_(1), lambda: x.copy_(X.flip(0))):
        change()
        found = density(u)
        assert density.backend == "native"
        torch.testing.assert_close(found, ember.density(regression, x, y)(u))


def test_what_the_model_reads_is_watched() -> None:
    options = {"scale": 1.0}

    def model() -> None:
        ember.sample("x", dist.Normal(0.0, options["scale"]))

    density = ember.density(model)
    u = torch.randn(4, 1)
    for scale in (1.0, 2.0):
        options["scale"] = scale
        torch.testing.assert_close(
            density(u, grad=False), torch.distributions.Normal(0.0, scale).log_prob(u[:, 0])
        )
        assert density.backend == "native"


def test_parameters_trained_afterwards_are_seen() -> None:
    net = torch.nn.Linear(2, 1)

    def model(x: Tensor, y: Tensor) -> None:
        ember.module("net", net)
        b = ember.sample("b", dist.Normal(0.0, 1.0))
        with ember.plate("data", len(x)):
            ember.sample("y", dist.Normal(net(x)[:, 0] + b, 1.0), obs=y)

    before = [p.detach().clone() for p in net.parameters()]
    own = list(net.parameters())
    density = ember.density(model, X, Y)
    u = torch.randn(3, 1)
    first = density(u, grad=False)
    assert all(a is b for a, b in zip(own, net.parameters(), strict=True))
    torch.testing.assert_close([p.detach() for p in net.parameters()], before)
    assert all(p.grad is None for p in net.parameters()) and len(ember.get_param_store()) == 0
    with torch.no_grad():
        net.weight.add_(1.0)
    assert not torch.allclose(density(u, grad=False), first)
    torch.testing.assert_close(density(u, grad=False), ember.density(model, X, Y)(u, grad=False))


def test_data_that_become_invalid_are_an_error() -> None:
    """All rows fail then, and not for what is in them."""
    counts = torch.tensor([1.0, 2.0])

    def model() -> None:
        rate = ember.sample("rate", dist.Gamma(2.0, 1.0))
        with ember.plate("data", 2):
            ember.sample("y", dist.Poisson(rate), obs=counts)

    density = ember.density(model)
    u = torch.randn(4, 1)
    assert bool(density(u)[0].isfinite().all())
    counts[0] = -1.0
    with pytest.raises(ValueError, match="support"):
        density(u)


def test_invalid_arguments_are_found_in_each_row() -> None:
    def model() -> None:
        a = ember.sample("a", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Gamma(a, 1.0), obs=torch.tensor(0.5))

    u = torch.linspace(-2, 2, 40)[:, None]
    density = ember.density(model)
    log_p, score = density(u)
    assert density.backend == "native"
    assert torch.equal(log_p.isfinite(), u[:, 0] > 0) and bool((score[u[:, 0] <= 0] == 0).all())
    with ember.validation_enabled(False):
        unchecked = density(u, grad=False)
    # -0.5 < a < 0 is no density, and lgamma gives a number all the same.
    assert bool(unchecked[(u[:, 0] < 0)].isfinite().any())


def test_single_precision() -> None:
    torch.set_default_dtype(torch.float32)
    density = ember.density(regression, X.float(), Y.float())
    u = torch.randn(5, 3)
    log_p, score = density(u.double())
    assert density.dtype is log_p.dtype is score.dtype is torch.float32 and density.backend == "native"
    torch.set_default_dtype(torch.float64)
    torch.testing.assert_close(
        log_p.double(), ember.density(regression, X, Y)(u.double())[0], rtol=1e-4, atol=1e-4
    )


def test_a_slope_that_is_not_finite_is_zero() -> None:
    def model() -> None:
        x = ember.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ember.factor("f", -x.abs().sqrt().sum())

    log_p, score = ember.density(model)(torch.tensor([[0.0, 1.0]]))
    assert log_p[0].isfinite() and score[0, 0] == 0
    torch.testing.assert_close(score[0, 1], torch.tensor(-1.5))


def test_what_trains_itself_is_refused() -> None:
    """Batch normalisation in training mode: rows would depend on those before them."""
    norm = torch.nn.BatchNorm1d(2)

    def model(x: Tensor) -> None:
        b = ember.sample("b", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(b + norm(x).sum(), 1.0), obs=torch.tensor(0.0))

    density = ember.density(model, X)
    density(torch.zeros(2, 1))
    assert density.backend == "python" and "changes a tensor in place" in density.explain()


def test_few_densities_come_from_the_program_of_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    from ember.infer.density import density as densities

    monkeypatch.setattr(densities, "_ROWS_WORTH_A_PROGRAM", 10)
    density = ember.density(regression, X, Y)
    u = torch.randn(6, 3)
    log_p, _ = density(u)
    assert torch.equal(density(u, grad=False), log_p)
    scored = density._scored.source
    assert density._last.source == scored
    torch.testing.assert_close(density(u, grad=False), log_p)
    assert density._last.source != scored and density.backend == "native"


def test_no_rows() -> None:
    log_p, score = ember.density(regression, X, Y)(torch.zeros(0, 3))
    assert log_p.shape == (0,) and score.shape == (0, 3)


def test_coordinates_cannot_be_parameters_of_modules_alone() -> None:
    with settings.context(module_local_params=True), pytest.raises(ModelError, match="lives in a module"):
        ember.density(Network(), X, Y, params="coordinates")


def test_what_is_shared_is_computed_once_a_call() -> None:
    """Five hundred rows would take 500 times as long as one, if each factored the matrix."""
    root = torch.randn(150, 150)
    matrix = root @ root.T + 150 * torch.eye(150)
    rows = ember.capture.rows(lambda b: torch.linalg.cholesky(matrix).diagonal().sum() * b)

    def seconds(count: int) -> float:
        tries = []
        for _ in range(5):
            begun = time.perf_counter()
            rows(torch.ones(count))
            tries.append(time.perf_counter() - begun)
        return min(tries)

    rows(torch.ones(3))
    assert rows.backend == "native" and seconds(500) < 50 * seconds(1)
