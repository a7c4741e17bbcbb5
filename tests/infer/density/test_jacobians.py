"""Densities in unconstrained coordinates integrate to one, for each kind of support that a distribution offers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember.distributions import constraints, transforms
from ember.infer.density.density import Density

pytestmark = pytest.mark.usefixtures("float64")


def ordered() -> Any:
    return dist.TransformedDistribution(
        dist.Normal(torch.zeros(2), 1.0).to_event(1), [transforms.OrderedTransform()]
    )


IN_ONE: dict[str, Any] = {
    "real": lambda: dist.Normal(0.5, 2.0),
    "positive": lambda: dist.Gamma(2.0, 1.5),
    "nonnegative": lambda: dist.HalfNormal(1.5),
    "unit interval": lambda: dist.Beta(2.0, 3.0),
    "interval": lambda: dist.Uniform(-2.0, 5.0),
    "greater than": lambda: dist.Pareto(1.5, 3.0),
    "folded": lambda: dist.FoldedDistribution(dist.Normal(1.0, 1.0)),
    "log": lambda: dist.LogNormal(0.3, 0.8),
    "Kumaraswamy": lambda: dist.Kumaraswamy(2.0, 3.0),
    "truncated": lambda: dist.TruncatedPolyaGamma(torch.tensor(1.0)),
    "simplex": lambda: dist.Dirichlet(torch.tensor([2.0, 3.0])),
    "correlation": lambda: dist.LKJCholesky(2, 1.5),
    "circle of radius": lambda: dist.AffineBeta(2.0, 3.0, -1.0, 4.0),
    "event": lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1),
}
IN_TWO: dict[str, Any] = {
    "simplex": lambda: dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0])),
    "ordered": ordered,
    "vector": lambda: dist.MultivariateNormal(torch.zeros(2), torch.eye(2) + 0.5),
    "two positives": lambda: dist.Gamma(2.0, 1.0).expand([2]).to_event(1),
}


def _density(make: Any) -> Any:
    def model() -> None:
        ember.sample("x", make())

    return by_python(model)


def by_python(model: Any) -> Density:
    """Few rows are not worth a compiler's time."""
    return Density(ember.density(model).joint, compile=False)


@pytest.mark.parametrize("name", IN_ONE)
def test_integrates_to_one(name: str) -> None:
    grid = torch.linspace(-30, 30, 401)
    density = _density(IN_ONE[name])
    assert density.dim == 1
    values = density(grid[:, None], grad=False).exp()
    assert abs(torch.trapezoid(values, grid) - 1) < 2e-4, density.layout


@pytest.mark.parametrize("name", IN_TWO)
def test_integrates_to_one_in_two_coordinates(name: str) -> None:
    grid = torch.linspace(-10, 10, 41)
    density = _density(IN_TWO[name])
    assert density.dim == 2
    values = density(torch.cartesian_prod(grid, grid), grad=False).exp().reshape(41, 41)
    assert abs(torch.trapezoid(torch.trapezoid(values, grid), grid) - 1) < 1e-3, density.layout


SUPPORTS: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "real": (constraints.real, (), 1),
    "positive": (constraints.positive, (2,), 2),
    "softplus positive": (constraints.softplus_positive, (), 1),
    "interval": (constraints.interval(-1.0, 2.0), (), 1),
    "greater": (constraints.greater_than(2.0), (), 1),
    "less": (constraints.less_than(2.0), (), 1),
    "half open": (constraints.half_open_interval(0.0, 2.0), (), 1),
    "nonnegative": (constraints.nonnegative, (), 1),
    "simplex": (constraints.simplex, (3,), 2),
    "ordered": (constraints.ordered_vector, (3,), 3),
    "positive ordered": (constraints.positive_ordered_vector, (3,), 3),
    "real vector": (constraints.real_vector, (3,), 3),
    "independent": (constraints.independent(constraints.positive, 1), (3,), 3),
    "correlation": (constraints.corr_cholesky, (3, 3), 3),
    "correlation matrix": (constraints.corr_matrix, (3, 3), 3),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_the_volume_is_that_of_the_map(name: str) -> None:
    """Under a flat prior the density is the factor alone, times the volume by which the free entries move."""
    support, shape, dim = SUPPORTS[name]

    def model() -> None:
        if shape and not support.event_dim:
            x = ember.sample("x", dist.ImproperUniform(support, shape, ()).to_event(1))
        else:
            x = ember.sample("x", dist.ImproperUniform(support, (), shape))
        ember.factor("f", -0.5 * (x**2).sum())

    density = by_python(model)
    assert density.dim == dim
    u = torch.randn(3, dim)
    log_p = density(u, grad=False)
    values = density.constrain(u)["x"]
    transform = density.layout[0].transform
    free = _free(name, shape)
    for row, value, found in zip(u, values, log_p, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: transform(v.reshape(density.layout[0].unconstrained_shape)).reshape(-1)[free], row
        )
        volume = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(found, -0.5 * (value**2).sum() + volume)


def _free(name: str, shape: tuple[int, ...]) -> Any:
    """Entries that determine the others."""
    index = torch.arange(int(torch.tensor(shape).prod())) if shape else torch.arange(1)
    if name == "simplex":
        return index[:-1]
    if name.startswith("correlation"):
        return index.reshape(shape)[*torch.tril_indices(*shape, -1)]
    return index


def test_a_support_without_a_way_there_is_named() -> None:
    with pytest.raises(NotImplementedError, match="PositiveDefinite") as raised:
        _density(lambda: dist.Wishart(torch.tensor(3.0), torch.eye(2)))
    assert any("'x'" in note for note in raised.value.__notes__)
