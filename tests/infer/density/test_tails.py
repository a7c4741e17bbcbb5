"""Indices of tails, from densities whose tails are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ember.infer.density.judging.tails import tail_indices
from ember.infer.vi.density import Counted, FunctionDensity
from ember.infer.vi.families.normal import Normal

ONE = torch.ones(2, dtype=torch.double)


def unit(dim: int, scale: float = 1.0) -> Normal:
    return Normal(torch.zeros(dim, dtype=torch.double), scale * torch.eye(dim, dtype=torch.double))


def beside_a_normal(log_p: object) -> Counted:
    """Two coordinates: the first as given, the second standard normal."""
    assert callable(log_p)
    return Counted(FunctionDensity(2, lambda u: log_p(u[:, 0]) - 0.5 * u[:, 1].square()))


@pytest.mark.parametrize("nu", [2.3, 3.0, 5.0])
def test_of_t_densities(nu: float) -> None:
    p = beside_a_normal(lambda x: -0.5 * (nu + 1) * torch.log1p(x.square() / nu))
    t, normal = tail_indices(p, lambda u: u, unit(2), ONE).tolist()
    assert t == pytest.approx(nu, rel=0.15) and normal > 8


def test_of_a_quantity_that_grows_faster_than_its_coordinate() -> None:
    """Under an exponential density of rate 3, exp(x) falls with the power 3."""
    p = beside_a_normal(lambda x: torch.where(x > 0, -3 * x, 10 * x))

    def quantities(u: Tensor) -> Tensor:
        return torch.stack([u[:, 0], u[:, 0].exp()], -1)

    spread = torch.tensor([1 / 3, math.sqrt(3 / 4)], dtype=torch.double)
    x, grown = tail_indices(p, quantities, unit(2, 1 / 3), spread).tolist()
    assert grown == pytest.approx(3.0, rel=0.15) and x > 5


def test_a_bound_is_no_tail() -> None:
    p = beside_a_normal(lambda x: torch.where(x.abs() < 1, 0.0, -torch.inf))
    assert float(tail_indices(p, lambda u: u, unit(2), ONE).min()) > 8


@pytest.mark.parametrize("dim", [2, 5, 20])
def test_of_a_t_density_that_all_coordinates_have_in_common(dim: int) -> None:
    """With the others at the centre each coordinate falls faster."""
    p = Counted(FunctionDensity(dim, lambda u: -0.5 * (3 + dim) * torch.log1p(u.square().sum(-1) / 3)))
    found = tail_indices(p, lambda u: u, unit(dim), torch.ones(dim, dtype=torch.double))
    assert float(found.min()) == pytest.approx(3.0, rel=0.2)


def test_of_a_density_without_a_mean() -> None:
    """Its tail reaches past a thousand standard deviations of any normal."""
    p = Counted(FunctionDensity(2, lambda u: -1.5 * torch.log1p(u.square().sum(-1))))
    assert tail_indices(p, lambda u: u, unit(2, 1.4), ONE).tolist() == pytest.approx([1.0, 1.0], rel=0.1)


def test_of_a_quantity_that_is_too_large_to_be_held() -> None:
    """It has the index zero, and takes nothing from the others."""
    p = beside_a_normal(lambda x: -2 * torch.log1p(x.square() / 3))
    found = tail_indices(p, lambda u: torch.cat([u, (900 * u[:, :1]).exp()], -1), unit(2), torch.ones(3))
    assert found[0] == pytest.approx(3, rel=0.15) and found[2] == 0.0
