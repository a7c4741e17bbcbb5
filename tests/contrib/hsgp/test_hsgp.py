"""Hilbert-space processes against the kernels that they approximate, and against an exact posterior."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import scipy.special
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib import hsgp
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal

D = torch.float64
LINE = torch.linspace(-1.0, 1.0, 9, dtype=D)
PLANE = torch.randn(7, 2, dtype=D, generator=torch.Generator().manual_seed(0)).clamp(-1.0, 1.0)


def distances(x: Tensor, length: Tensor) -> Tensor:
    points = x[:, None] if x.dim() == 1 else x
    return ((points[:, None] - points) / length).square().sum(-1).clamp_min(1e-18).sqrt()


def squared_exponential(x: Tensor, alpha: float, length: Tensor) -> Tensor:
    return alpha * torch.exp(-0.5 * distances(x, length) ** 2)


def matern(nu: float) -> Callable[[Tensor, float, Tensor], Tensor]:
    def kernel(x: Tensor, alpha: float, length: Tensor) -> Tensor:
        r = distances(x, length)
        if nu == 1.5:
            return alpha * (1 + 3**0.5 * r) * torch.exp(-(3**0.5) * r)
        return alpha * (1 + 5**0.5 * r + 5 / 3 * r**2) * torch.exp(-(5**0.5) * r)

    return kernel


def covariance(process: Callable[[], Tensor]) -> Tensor:
    """Of a process that is linear in the standard normal weights."""
    trace = poutine.trace(process).get_trace()
    sites = {site.name: site.value for site in trace.samples() if site.is_latent and not site.is_subsample}
    columns = []
    for name, value in sites.items():
        for row in torch.eye(len(value), dtype=D):
            given = {other: row if other == name else torch.zeros_like(sites[other]) for other in sites}
            columns.append(poutine.condition(process, data=given)())
    basis = torch.stack(columns, -1)
    return basis @ basis.mT


@pytest.mark.parametrize("length", [0.3, 0.8])
def test_squared_exponential_on_a_line(length: float) -> None:
    scale = torch.tensor(length, dtype=D)
    found = covariance(lambda: hsgp.hsgp_squared_exponential(LINE, 1.5, scale, ell=5.0, m=60))
    torch.testing.assert_close(found, squared_exponential(LINE, 1.5, scale), atol=1e-6, rtol=0.0)


def test_squared_exponential_in_a_plane_with_a_length_for_each_dim() -> None:
    lengths = torch.tensor([0.5, 0.9], dtype=D)
    found = covariance(lambda: hsgp.hsgp_squared_exponential(PLANE, 0.7, lengths, ell=[4.0, 5.0], m=[30, 25]))
    torch.testing.assert_close(found, squared_exponential(PLANE, 0.7, lengths), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize(("nu", "m", "error"), [(1.5, 400, 2e-4), (2.5, 200, 2e-5)])
def test_matern(nu: float, m: int, error: float) -> None:
    scale = torch.tensor(0.6, dtype=D)
    found = covariance(lambda: hsgp.hsgp_matern(LINE, nu, 1.2, scale, ell=6.0, m=m))
    torch.testing.assert_close(found, matern(nu)(LINE, 1.2, scale), atol=error, rtol=0.0)


def test_matern_in_a_plane() -> None:
    lengths = torch.tensor([0.8, 1.0], dtype=D)
    found = covariance(lambda: hsgp.hsgp_matern(PLANE, 2.5, 1.0, lengths, ell=6.0, m=40))
    torch.testing.assert_close(found, matern(2.5)(PLANE, 1.0, lengths), atol=4e-3, rtol=0.0)


def test_periodic() -> None:
    length, w0 = torch.tensor(0.7, dtype=D), 2.0
    found = covariance(lambda: hsgp.hsgp_periodic_non_centered(LINE, 1.3, length, w0, m=25))
    gap = LINE[:, None] - LINE
    expected = 1.3**2 * torch.exp(-2 * torch.sin(w0 * gap / 2) ** 2 / length**2)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("length", [0.05, 0.3, 1.0, 4.0])
def test_bessel_functions_of_the_periodic_kernel(length: float) -> None:
    found = hsgp.diag_spectral_density_periodic(1.0, torch.tensor(length, dtype=D), 12)
    expected = [(1 if j == 0 else 2) * scipy.special.ive(j, length**-2) for j in range(12)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=D), atol=1e-15, rtol=1e-9)


def test_basis_is_orthonormal_and_solves_the_equation() -> None:
    x = torch.linspace(-2.0, 2.0, 4001, dtype=D)
    phi = hsgp.eigenfunctions(x, 2.0, 5)
    torch.testing.assert_close(phi.mT @ phi * 1e-3, torch.eye(5, dtype=D), atol=1e-6, rtol=0.0)
    second = (phi[2:] - 2 * phi[1:-1] + phi[:-2]) / 1e-6
    eigenvalues = hsgp.sqrt_eigenvalues(2.0, 5, 1).double().square()
    torch.testing.assert_close(second, -eigenvalues * phi[1:-1], atol=1e-4, rtol=0.0)


def test_numbers_of_numpyro() -> None:
    """Computed by numpyro 0.22.0."""
    w = torch.tensor([[0.5], [1.5]], dtype=D)
    found = hsgp.spectral_density_matern(1, 1.5, w, 1.5, 0.3)
    torch.testing.assert_close(found, torch.tensor([1.02381566, 0.91196067], dtype=D), rtol=1e-7, atol=0.0)
    w = torch.tensor([[0.5, 1.0], [1.5, 0.0]], dtype=D)
    found = hsgp.spectral_density_matern(2, 2.5, w, 1.5, torch.tensor([0.3, 0.6], dtype=D))
    torch.testing.assert_close(found, torch.tensor([1.31067348, 1.47637382], dtype=D), rtol=1e-7, atol=0.0)
    found = hsgp.eigenfunctions(torch.tensor([-1.0, -0.5], dtype=D), 2.0, 3)
    expected = torch.tensor([[0.5, 0.70710678, 0.5], [0.65328148, 0.5, -0.27059805]], dtype=D)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)


def regression(x: Tensor, y: Tensor) -> None:
    f = hsgp.hsgp_squared_exponential(x, 1.0, 0.4, ell=3.0, m=30)
    ember.deterministic("f", f)
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.Normal(f, 0.2), obs=y)


def test_posterior_is_that_of_the_exact_process() -> None:
    x = torch.linspace(-1.0, 1.0, 25, dtype=D)
    y = torch.sin(4.0 * x)
    fit = ember.fit(regression, x, y, seed=0, draws=2000, progress=False)
    kernel = squared_exponential(x, 1.0, torch.tensor(0.4, dtype=D))
    mean = kernel @ torch.linalg.solve(kernel + 0.04 * torch.eye(25, dtype=D), y)
    assert fit.verdict
    # The Monte Carlo error of 2,000 draws with SDs of 0.1.
    assert float((fit.draws["f"].mean(0) - mean).abs().max()) < 0.015


@pytest.mark.parametrize("non_centered", [True, False])
def test_compiled_steps_and_many_particles(non_centered: bool) -> None:
    x = torch.linspace(-1.0, 1.0, 20)

    def model(x: Tensor, y: Tensor) -> None:
        length = ember.sample("length", dist.LogNormal(-1.0, 0.3))
        alpha = ember.sample("alpha", dist.HalfNormal(1.0))
        f = hsgp.hsgp_matern(x, 2.5, alpha, length, ell=2.0, m=8, non_centered=non_centered)
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Normal(f, 0.2), obs=y)

    loss = Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        adam = ember.optim.Adam({"lr": 0.05})
        svi = SVI(model, AutoNormal(model), adam, loss, param_store="own", compile=compiled)
        losses.append(svi.run(20, x, torch.cos(3.0 * x), progress=False).losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-3)
    assert losses[0][-5:].mean() < losses[0][:5].mean()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hsgp.eigenfunctions(LINE, 0.5, 3), "x reaches 1, outside of the box of half length ell=0.5"),
        (lambda: hsgp.eigenfunctions(PLANE, [1.0], 3), "ell must be a positive number, or 2 of them"),
        (lambda: hsgp.eigenfunctions(PLANE, -1.0, 3), "ell must be a positive number"),
        (lambda: hsgp.eigenfunctions(PLANE, 2.0, [3]), "m must be a positive integer, or 2 of them"),
        (lambda: hsgp.eigenfunctions(LINE, 2.0, 0), "m must be a positive integer"),
        (
            lambda: hsgp.hsgp_periodic_non_centered(PLANE, 1.0, 1.0, 1.0, 3),
            r"one dim, \(n,\); got the shape \(7, 2\)",
        ),
        (lambda: hsgp.hsgp_matern(LINE, 0.0, 1.0, 1.0, 2.0, 3), "nu must be positive, got 0"),
        (
            lambda: hsgp.hsgp_squared_exponential(PLANE, 1.0, torch.ones(3), 2.0, 3),
            r"length must be one number, or 2, one for each dim; got the shape \(3,\)",
        ),
    ],
)
def test_says_what_is_wrong(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
