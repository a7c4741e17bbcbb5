"""Inference by particles: moved, filtered, weighed again, and learned proposals."""

from __future__ import annotations

import math

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import CSIS, SVGD, EmpiricalMarginal, IMQSteinKernel, RBFSteinKernel, SMCFilter
from ember.infer.objectives.svgd import SteinKernel, vectorize
from ember.infer.posterior.resampler import Resampler
from ember.infer.posterior.smcfilter import SMCFailed, SMCState
from ember.optim import Adam


@pytest.fixture(autouse=True)
def fresh() -> None:
    ember.clear_param_store()
    ember.set_rng_seed(0)


@pytest.mark.parametrize(
    "kernel", [RBFSteinKernel(), RBFSteinKernel(2.0), IMQSteinKernel(), IMQSteinKernel(0.7, -0.3, 0.5)]
)
def test_kernels_and_their_derivatives(kernel: SteinKernel) -> None:
    x = torch.randn(5, 3, dtype=torch.float64)
    log_kernel, gradient = kernel.log_kernel_and_grad(x)
    assert torch.equal(log_kernel, log_kernel.transpose(0, 1)) and log_kernel.shape == gradient.shape == (
        5,
        5,
        3,
    )
    distances = (x.unsqueeze(1) - x.unsqueeze(0)).square()
    pairs = torch.combinations(torch.arange(5))
    h = distances[pairs[:, 0], pairs[:, 1]].median(0).values / math.log(6) * (kernel.bandwidth_factor or 1.0)
    y = x.clone().requires_grad_()
    moved = (y.unsqueeze(1) - x.unsqueeze(0)).square() / h
    value = -moved if isinstance(kernel, RBFSteinKernel) else kernel.beta * (kernel.alpha + moved).log()
    torch.testing.assert_close(log_kernel, value.detach())
    (expected,) = torch.autograd.grad(value[:, 2].sum(), y)
    torch.testing.assert_close(gradient[:, 2], expected)


def posterior(data: torch.Tensor) -> None:
    a = ember.sample("a", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    b = ember.sample("b", dist.Gamma(20.0, 10.0))
    with ember.plate("data", len(data), dim=-1):
        ember.sample("x", dist.Normal(a.sum(-1), b), obs=data)


@pytest.mark.parametrize("mode", ["univariate", "multivariate"])
def test_particles_cover_a_normal_distribution(mode: str) -> None:
    def model() -> None:
        ember.sample("z", dist.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])).to_event(1))

    svgd = SVGD(model, RBFSteinKernel(), Adam({"lr": 0.05}), 40, 0, mode=mode)
    before = svgd.step()
    for _ in range(250):
        after = svgd.step()
    z = svgd.get_named_particles()["z"].detach()
    assert z.shape == (40, 2) and after["z"] < before["z"]
    torch.testing.assert_close(z.mean(0), torch.tensor([1.0, -2.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([0.5, 2.0]), rtol=0.25, atol=0)


def test_sites_keep_to_their_particles() -> None:
    """A direction by hand: particles as rows over all sites, in unconstrained space."""
    data = torch.tensor([1.0, 2.0, 1.5])
    svgd = SVGD(posterior, RBFSteinKernel(), Adam({"lr": 1e-9}), 4, 1)
    squares = svgd.step(data)
    named = {name: x.detach().reshape(4, -1) for name, x in svgd.get_named_particles().items()}
    x = torch.cat([named["a"], named["b"].log()], -1).requires_grad_()
    a, log_b = x[:, :2], x[:, 2]
    log_p = dist.Normal(0.0, 1.0).log_prob(a).sum(-1) + dist.Gamma(20.0, 10.0).log_prob(log_b.exp()) + log_b
    log_p = log_p + dist.Normal(a.sum(-1, keepdim=True), log_b.exp().unsqueeze(-1)).log_prob(data).sum(-1)
    (score,) = torch.autograd.grad(log_p.sum(), x)
    log_kernel, gradient = RBFSteinKernel().log_kernel_and_grad(x.detach())
    k = log_kernel.exp()
    direction = ((k * score.unsqueeze(1)).sum(0) + (k * gradient).sum(0)) / 4
    assert squares["a"] == pytest.approx(direction[:, :2].square().mean().item(), rel=1e-3)
    assert squares["b"] == pytest.approx(direction[:, 2].square().mean().item(), rel=1e-3)


def test_bad_settings_of_particles_are_named() -> None:
    def made(**options: object) -> SVGD:
        defaults = {
            "model": posterior,
            "kernel": RBFSteinKernel(),
            "optim": Adam({"lr": 0.1}),
            "num_particles": 4,
        }
        return SVGD(**{**defaults, "max_plate_nesting": 1, **options})  # type: ignore[arg-type]

    for options, text in [
        ({"mode": "x"}, "univariate, multivariate"),
        ({"kernel": 3}, "valid SteinKernel"),
        ({"optim": torch.optim.Adam}, "valid Pyro optimizer"),
        ({"num_particles": 1}, "at least two"),
    ]:
        with pytest.raises(AssertionError, match=text):
            made(**options)
    with pytest.raises(RuntimeError, match="before the first step"):
        made().get_named_particles()
    with pytest.raises(AssertionError, match="bandwidth_factor must be positive"):
        RBFSteinKernel(-1.0)
    with pytest.raises(AssertionError, match="beta must be negative"):
        IMQSteinKernel(beta=1.0)
    trace = ember.poutine.trace(vectorize(posterior, 4, 1)).get_trace(torch.zeros(3))
    assert trace.nodes["x"]["fn"].batch_shape == (4, 3)


class Walk:
    """A random walk, observed."""

    def init(self, state: SMCState) -> None:
        state["x"] = ember.sample("x0", dist.Normal(0.0, 1.0))

    def step(self, state: SMCState, y: torch.Tensor | None = None) -> None:
        state["x"] = ember.sample("x", dist.Normal(state["x"], 0.5))
        ember.sample("y", dist.Normal(state["x"], 0.7), obs=y)


class Proposal:
    def init(self, state: SMCState) -> None:
        ember.sample("x0", dist.Normal(0.0, 1.2))

    def step(self, state: SMCState, y: torch.Tensor | None = None) -> None:
        ember.sample("x", dist.Normal(0.7 * state["x"] + 0.3 * y, 0.6))


class Blind(Proposal):
    """Proposes nothing after the start: the model's own draws are weighed."""

    def step(self, state: SMCState, y: torch.Tensor | None = None) -> None:
        pass


@pytest.mark.filterwarnings("ignore:Found vars in model but not guide")
@pytest.mark.parametrize("guide", [Proposal(), Blind()])
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_the_filter_is_that_of_kalman(guide: Proposal, threshold: float) -> None:
    filtering = SMCFilter(Walk(), guide, num_particles=20000, max_plate_nesting=0, ess_threshold=threshold)
    filtering.init()
    mean, var = 0.0, 1.0
    for y in (1.0, 2.0, 1.5):
        filtering.step(torch.tensor(y))
        var += 0.25
        gain = var / (var + 0.49)
        mean, var = mean + gain * (y - mean), (1 - gain) * var
    found = filtering.get_empirical()["x"]
    assert found.mean.item() == pytest.approx(mean, abs=0.02) and found.variance.item() == pytest.approx(
        var, abs=0.02
    )


def test_plates_of_the_filtered_model() -> None:
    class Many(Walk):
        def init(self, state: SMCState) -> None:
            with ember.plate("rows", 3, dim=-1):
                state["x"] = ember.sample("x0", dist.Normal(0.0, 1.0))

        def step(self, state: SMCState, y: torch.Tensor | None = None) -> None:
            with ember.plate("rows", 3, dim=-1):
                super().step(state, y)

    class Guess(Many):
        def init(self, state: SMCState) -> None:
            with ember.plate("rows", 3, dim=-1):
                ember.sample("x0", dist.Normal(0.0, 1.0))

        def step(self, state: SMCState, y: torch.Tensor | None = None) -> None:
            with ember.plate("rows", 3, dim=-1):
                ember.sample("x", dist.Normal(state["x"], 0.5))

    filtering = SMCFilter(Many(), Guess(), num_particles=20000, max_plate_nesting=1)
    filtering.init()
    y = torch.tensor([1.0, 0.0, -2.0])
    filtering.step(y)
    assert filtering.state["x"].shape == (20000, 3)
    torch.testing.assert_close(filtering.get_empirical()["x"].mean, y * 1.25 / 1.74, atol=0.06, rtol=0)


def test_bad_filters_are_told_so() -> None:
    class Writes(Proposal):
        def step(self, state: SMCState, y: torch.Tensor | None = None) -> None:
            state["q"] = torch.ones(8)

    class Impossible(Walk):
        def step(self, state: SMCState, y: torch.Tensor | None = None) -> None:
            super().step(state, y)
            ember.factor("never", torch.full((8,), -math.inf))

    for model, guide, error, text in [
        (Walk(), Writes(), RuntimeError, "Guide cannot write"),
        (Impossible(), Proposal(), SMCFailed, "after site never"),
    ]:
        filtering = SMCFilter(model, guide, 8, 0)
        filtering.init()
        with pytest.raises(error, match=text):
            filtering.step(torch.tensor(1.0))
    with pytest.raises(AssertionError, match=r"\(0, 1\], and not 0"):
        SMCFilter(Walk(), Proposal(), 8, 0, ess_threshold=0)
    state = SMCState(4)
    with pytest.raises(ValueError, match="leading dim of size 4"):
        state["a"] = torch.ones(3)
    with pytest.raises(TypeError, match="but got int"):
        state["a"] = 3  # type: ignore[assignment]


def test_a_compiled_proposal_is_the_posterior() -> None:
    zero = {"y": torch.tensor(0.0)}

    def model(observations: dict[str, torch.Tensor] = zero) -> torch.Tensor:
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(x, 1.0), obs=observations["y"])
        return x

    def guide(observations: dict[str, torch.Tensor] = zero) -> None:
        weight = ember.param("weight", torch.tensor(0.1))
        scale = ember.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        ember.sample("x", dist.Normal(weight * observations["y"], scale))

    csis = CSIS(model, guide, Adam({"lr": 0.05}), num_inference_samples=50, training_batch_size=20)
    before = csis.validation_loss()
    for _ in range(150):
        csis.step()
    assert csis.validation_loss() < before
    # x | y is normal with mean y / 2 and variance 1 / 2.
    assert ember.param("weight").item() == pytest.approx(0.5, abs=0.08)
    assert ember.param("scale").item() == pytest.approx(0.5**0.5, abs=0.08)
    run = csis.run(observations={"y": torch.tensor(2.0)})
    assert EmpiricalMarginal(run, "x").mean.item() == pytest.approx(1.0, abs=0.3)


def diffuse() -> None:
    a = ember.sample("a", dist.Normal(0.0, 2.0))
    with ember.plate("rows", 2, dim=-1):
        ember.sample("b", dist.Normal(a, 2.0))


def simulated() -> None:
    a = ember.sample("a", dist.Normal(0.0, 2.0))
    with ember.plate("rows", 2, dim=-1):
        b = ember.sample("b", dist.Normal(a, 2.0))
        ember.sample("c", dist.Normal(b, 0.1))


def narrow() -> None:
    a = ember.sample("a", dist.Normal(1.0, 0.5))
    with ember.plate("rows", 2, dim=-1):
        ember.sample("b", dist.Normal(a, 1.0))


@pytest.mark.parametrize("stable", [True, False])
def test_draws_are_weighed_again(stable: bool) -> None:
    resampler = Resampler(diffuse, simulated, num_guide_samples=20000)
    drawn = resampler.sample(narrow, 1000, stable=stable)
    assert drawn["b"].shape == (1000, 2) and set(drawn) == {"a", "b", "c"}
    assert drawn["a"].mean().item() == pytest.approx(1.0, abs=0.08)
    assert (drawn["b"] - drawn["a"]).std().item() == pytest.approx(1.0, abs=0.1)
    assert (drawn["c"] - drawn["b"]).abs().max() < 0.6  # the simulator ran with each draw


def test_stable_draws_stay() -> None:
    resampler = Resampler(diffuse, num_guide_samples=500, max_plate_nesting=1)
    first, again, more = (resampler.sample(narrow, n)["a"] for n in (5, 5, 8))
    assert torch.equal(first, again) and torch.equal(first, more[:5])
