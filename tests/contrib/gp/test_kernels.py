"""Covariance functions against their formulas, and laws that all of them keep."""

from __future__ import annotations

import math

import pytest
import torch

import ember.contrib.gp as gp
from ember.contrib.gp import kernels as k

V, SCALE, SCALES = torch.tensor(2.0), torch.tensor(0.7), torch.tensor([0.5, 1.0, 2.0])


def square(x, z, scale=SCALE):
    return ((x - z) / scale).square().sum()


def matern52(r):
    return (1 + math.sqrt(5) * r + 5 / 3 * r**2) * torch.exp(-math.sqrt(5) * r)


# Name, how to make it, and its value at two points.
ROWS = [
    ("RBF", lambda: k.RBF(3, V, SCALES), lambda x, z: 2 * torch.exp(-0.5 * square(x, z, SCALES))),
    (
        "RationalQuadratic",
        lambda: k.RationalQuadratic(3, V, SCALE, torch.tensor(1.5)),
        lambda x, z: 2 * (1 + square(x, z) / 3) ** -1.5,
    ),
    ("Exponential", lambda: k.Exponential(3, V, SCALE), lambda x, z: 2 * torch.exp(-square(x, z).sqrt())),
    (
        "Matern32",
        lambda: k.Matern32(3, V, SCALE),
        lambda x, z: 2 * (1 + (3 * square(x, z)).sqrt()) * torch.exp(-(3 * square(x, z)).sqrt()),
    ),
    ("Matern52", lambda: k.Matern52(3, V, SCALE), lambda x, z: 2 * matern52(square(x, z).sqrt())),
    ("Cosine", lambda: k.Cosine(3, V, SCALE), lambda x, z: 2 * torch.cos(square(x, z).sqrt())),
    (
        "Periodic",
        lambda: k.Periodic(3, V, SCALE, torch.tensor(1.3)),
        lambda x, z: 2 * torch.exp(-2 * (torch.sin(math.pi * (x - z) / 1.3) / SCALE).square().sum()),
    ),
    ("Constant", lambda: k.Constant(3, V), lambda x, z: V),
    ("WhiteNoise", lambda: k.WhiteNoise(3, V), lambda x, z: V * bool((x == z).all())),
    ("Linear", lambda: k.Linear(3, V), lambda x, z: 2 * (x @ z)),
    (
        "Polynomial",
        lambda: k.Polynomial(3, V, torch.tensor(0.5), degree=2),
        lambda x, z: 2 * (0.5 + x @ z) ** 2,
    ),
    (
        "Coregionalize",
        lambda: k.Coregionalize(3, components=torch.ones(3, 2), diagonal=torch.full((3,), 0.3)),
        lambda x, z: 2 * x.sum() * z.sum() + 0.3 * (x @ z),
    ),
    (
        "Sum",
        lambda: k.Sum(k.RBF(3, V, SCALE), k.Linear(3)),
        lambda x, z: 2 * torch.exp(-square(x, z) / 2) + x @ z,
    ),
    ("Sum with a number", lambda: k.Sum(k.Linear(3), 2.0), lambda x, z: x @ z + 2),
    ("Product", lambda: k.Product(k.Linear(3, V), k.Constant(3, V)), lambda x, z: 4 * (x @ z)),
    ("Exponent", lambda: k.Exponent(k.Linear(3)), lambda x, z: torch.exp(x @ z)),
    (
        "VerticalScaling",
        lambda: k.VerticalScaling(k.Constant(3, V), lambda x: x.sum(-1)),
        lambda x, z: 2 * x.sum() * z.sum(),
    ),
    (
        "Warping",
        lambda: k.Warping(k.Linear(3), lambda x: 2 * x, [1, 2, 3]),
        lambda x, z: 1 + 2 * 4 * (x @ z) + 3 * 16 * (x @ z) ** 2,
    ),
    (
        "active dims",
        lambda: k.Sum(k.Linear(1, active_dims=[2]), k.Linear(2, active_dims=[0, 1])),
        lambda x, z: x @ z,
    ),
]


@pytest.mark.parametrize("name, make, value", ROWS, ids=[name for name, _, _ in ROWS])
def test_values_and_laws(name: str, make, value) -> None:
    torch.manual_seed(0)
    X, Z = torch.randn(5, 3).double(), torch.randn(4, 3).double()
    kernel = make().double()
    with torch.no_grad():
        own, cross, diagonal = kernel(X), kernel(X, Z), kernel(X, diag=True)
    torch.testing.assert_close(
        own, torch.stack([torch.stack([value(x, z) for z in X]) for x in X]).double(), rtol=1e-5, atol=1e-5
    )
    if name != "WhiteNoise":
        expected = torch.stack([torch.stack([value(x, z) for z in Z]) for x in X]).double()
        torch.testing.assert_close(cross, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(diagonal, own.diagonal(), rtol=1e-5, atol=1e-5)
    if name != "Cosine":  # in several dims it is no covariance function
        assert torch.linalg.eigvalsh(own).min() > -1e-8


@pytest.mark.parametrize("make", [make for name, make, _ in ROWS], ids=[name for name, _, _ in ROWS])
def test_gradients_are_finite_at_distance_zero(make) -> None:
    kernel = make()
    x = torch.ones(2, 3, requires_grad=True)
    kernel(x).sum().backward()
    grads = [p.grad for p in kernel.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in grads)
    assert x.grad is None or torch.isfinite(x.grad).all()


def test_brownian_motion() -> None:
    kernel = k.Brownian(1, V)
    x = torch.tensor([-2.0, -1.0, 0.5, 3.0])
    expected = torch.tensor([[4.0, 2.0, 0, 0], [2.0, 2.0, 0, 0], [0, 0, 1.0, 1.0], [0, 0, 1.0, 6.0]])
    torch.testing.assert_close(kernel(x).detach(), expected)
    torch.testing.assert_close(kernel(x, diag=True).detach(), expected.diagonal())


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: k.Brownian(2), ValueError, "must be 1"),
        (lambda: k.RBF(2, active_dims=[0, 1, 2]), ValueError, "should be equal"),
        (lambda: k.Polynomial(1, degree=0), ValueError, "positive integer"),
        (lambda: k.Sum(3, k.RBF(1)), TypeError, "first component"),
        (lambda: k.Sum(k.RBF(1), "a"), TypeError, "second component"),
        (lambda: k.Coregionalize(3, components=torch.ones(2, 2)), ValueError, r"shape == \(3,rank\)"),
        (lambda: k.Coregionalize(3, diagonal=torch.ones(2)), ValueError, r"shape == \(3,\)"),
        (lambda: k.RBF(1)(torch.zeros(2, 2, 2)), ValueError, "1 or 2 dim"),
        (lambda: k.Kernel(1)(torch.zeros(2)), NotImplementedError, "Kernel is a base"),
    ],
)
def test_bad_input_is_named(make, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_the_room_is_whole() -> None:
    assert gp.kernels is k and set(k.__all__) >= {
        name for name, _, _ in ROWS if name[0].isupper() and " " not in name
    }
