"""Flows in guides and in models: eager, compiled and looped steps have the same numbers, and flows fit what they can."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.infer.everywhere import Program, assert_same, fit

import ember
import ember.distributions as dist
from ember.distributions import transforms as T
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.optim import SGD, Adam

pytestmark = pytest.mark.usefixtures("float64")

DATA = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(6, 2)


def two_modes() -> None:
    """A curved posterior of three entries."""
    x = ember.sample("x", dist.Normal(torch.zeros(3), torch.tensor([1.0, 0.5, 2.0])).to_event(1))
    ember.sample("y", dist.Normal(x[..., 0] ** 2 + x[..., 1] * x[..., 2], 0.5), obs=torch.tensor(1.5))


def assert_all_ways(program: Program, steps: int = 15) -> None:
    """Compiled natively, step by step and in one call, with the numbers of eager steps."""
    eager = fit(program, "eager", steps=steps)
    for how in ("compiled", "run"):
        compiled = fit(program, how, "native", steps=steps)
        report = ember.capture.explain(compiled.svi)
        assert [capture.backend for capture in report.captures] == ["native"], report
        assert_same(compiled, eager)


def most_flows(n: int) -> Any:
    """Flows of vectors, one after another; no polynomials, whose degrees multiply."""
    makers = [
        T.affine_autoregressive,
        T.affine_coupling,
        lambda n: T.block_autoregressive(n, residual="gated", hidden_factors=[4]),
        lambda n: T.neural_autoregressive(n, width=4),
        T.permute,
        T.planar,
        T.radial,
        lambda n: T.spline(n, order="quadratic"),
        lambda n: T.spline_autoregressive(n, [8], count_bins=4),
        lambda n: T.spline_coupling(n, hidden_dims=[8], count_bins=4),
        T.sylvester,
    ]
    return T.ComposeTransformModule([make(n) for make in makers])


def test_most_flows_in_a_guide() -> None:
    assert_all_ways(Program(lambda: (two_modes, autoguide.AutoNormalizingFlow(two_modes, most_flows), ())))


def test_polynomials_in_a_guide() -> None:
    def make() -> tuple[Any, Any, tuple[Any, ...]]:
        return two_modes, autoguide.AutoNormalizingFlow(two_modes, lambda n: T.polynomial(n, [8])), ()

    assert_all_ways(Program(make))


def test_nothing_cached_is_stale() -> None:
    """One tensor of data, scored in every step and between: the parameters change, and gradients are off and on."""
    flow = T.spline(2)
    density = dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0).to_event(1), [flow])
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.1, fused=True)  # changes values, and no versions
    for _ in range(3):
        with torch.no_grad():
            before = density.log_prob(DATA)
        optimizer.zero_grad()
        loss = -density.log_prob(DATA).sum()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())
        optimizer.step()
        after = density.log_prob(DATA)
        assert after.sum() > before.sum()
        torch.testing.assert_close(after, density.log_prob(DATA.clone()))


def conditional_program() -> tuple[Any, Any, tuple[Any, ...]]:
    flows = [
        T.conditional_affine_autoregressive(2, 2, [8]),
        T.conditional_affine_coupling(2, 2, [8]),
        T.conditional_householder(2, 2, [8]),
        T.conditional_matrix_exponential(2, 2, [8]),
        T.conditional_neural_autoregressive(2, 2, [8], width=4),
        T.conditional_planar(2, 2, [8]),
        T.conditional_spline_autoregressive(2, 2, [8], count_bins=4, order="quadratic"),
    ]
    family = dist.ConditionalTransformedDistribution(dist.Normal(torch.zeros(2), 1.0).to_event(1), flows)
    modules = torch.nn.ModuleList(flows)

    def model(data: torch.Tensor) -> None:
        with ember.plate("rows", len(data)):
            z = ember.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            ember.sample("x", dist.Normal(z + z.flip(-1) ** 2, 0.3).to_event(1), obs=data)

    def guide(data: torch.Tensor) -> None:
        ember.module("flows", modules)
        with ember.plate("rows", len(data)):
            ember.sample("z", family.condition(data))

    return model, guide, (DATA,)


def test_conditional_flows_in_a_guide() -> None:
    assert_all_ways(Program(conditional_program))


def density_program() -> tuple[Any, Any, tuple[Any, ...]]:
    flows = [
        T.affine_coupling(2, [8]),
        T.permute(2, torch.tensor([1, 0])),
        T.spline_coupling(2, hidden_dims=[8]),
        T.affine_autoregressive(2, [8]),
        T.spline_autoregressive(2, [8], count_bins=4),
        T.householder(2),
        T.matrix_exponential(2),
    ]
    modules = torch.nn.ModuleList([flow for flow in flows if isinstance(flow, torch.nn.Module)])

    def model(data: torch.Tensor) -> None:
        ember.module("flows", modules)
        with ember.plate("rows", len(data)):
            base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            ember.sample("x", dist.TransformedDistribution(base, flows), obs=data)

    return model, lambda data: None, (DATA,)


def test_flows_as_densities_of_data() -> None:
    assert_all_ways(Program(density_program))


def test_a_flow_fits_what_a_normal_cannot() -> None:
    """The evidence by quadrature; the normal guide stays well below it."""

    def model() -> None:
        x = ember.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ember.sample("y", dist.Normal(x[..., 1] - x[..., 0] ** 2, 0.3), obs=torch.tensor(0.0))

    grid = torch.linspace(-6, 6, 1201)
    x0, x1 = torch.meshgrid(grid, grid, indexing="ij")
    log_joint = dist.Normal(0.0, 1.0).log_prob(x0) + dist.Normal(0.0, 1.0).log_prob(x1)
    log_joint = log_joint + dist.Normal(x1 - x0**2, 0.3).log_prob(torch.tensor(0.0))
    evidence = log_joint.exp().sum().mul(0.01**2).log().item()

    def bound(guide: Any) -> float:
        svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO(num_particles=16, vectorize_particles=True))
        return -svi.run(800, progress=False).losses[-200:].mean().item()

    ember.set_rng_seed(0)
    flow = bound(autoguide.AutoNormalizingFlow(model, T.block_autoregressive))
    ember.clear_param_store()
    normal = bound(autoguide.AutoMultivariateNormal(model))
    assert evidence - 0.15 < flow < evidence + 0.03
    assert normal < evidence - 0.3


def image_program() -> tuple[Any, Any, tuple[Any, ...]]:
    mixed = T.conditional_generalized_channel_permute(2, channels=3)
    moved = [T.conditional_radial(2, 2, [8]), T.conditional_spline(2, 2, [8], count_bins=4)]
    normalised = T.batchnorm(2)
    modules = torch.nn.ModuleList([mixed, *moved, normalised])
    images = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 2, 2)

    def model(data: torch.Tensor) -> None:
        ember.module("flows", modules)
        noise = dist.Normal(torch.zeros(3, 2, 2), 1.0).to_event(3)
        pair = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        with ember.plate("images", 2):
            mixing = mixed.condition(images[:, 0, 0])
            ember.sample("image", dist.TransformedDistribution(noise, [mixing]), obs=images)
        with ember.plate("rows", len(data)):
            z = ember.sample("z", pair)
            ember.sample("x", dist.Normal(z + z.flip(-1) ** 2, 0.3).to_event(1), obs=data)
            ember.sample("y", dist.TransformedDistribution(pair, [normalised]), obs=data)

    def guide(data: torch.Tensor) -> None:
        pair = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        with ember.plate("rows", len(data)):
            ember.sample("z", dist.ConditionalTransformedDistribution(pair, moved).condition(data))

    return model, guide, (DATA,)


def test_flows_of_images_and_normalised_batches() -> None:
    # By plain steps: the slope of an offset is rounding error, of which Adam makes steps.
    assert_all_ways(Program(image_program, optim=lambda: SGD({"lr": 0.001})))
