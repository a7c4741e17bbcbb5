"""Densities whose means and standard deviations are known: in closed form, by a grid, or by exact draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import FunctionDensity

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Target:
    """A density, quantities of it, and their exact means and standard deviations."""

    name: str
    density: FunctionDensity
    quantities: Function
    mean: Tensor
    sd: Tensor

    @property
    def dim(self) -> int:
        return self.density.dim


def target(
    name: str, dim: int, log_prob: Function, mean: Tensor, sd: Tensor, quantities: Function = lambda u: u
) -> Target:
    return Target(name, FunctionDensity(dim, log_prob), quantities, mean, sd)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=_generator(seed))


def full(size: int, value: float) -> Tensor:
    return torch.full((size,), value, dtype=torch.double)


def gauss(dim: int, condition: float) -> Target:
    q = torch.linalg.qr(randn(dim, dim, seed=dim)).Q
    s = torch.logspace(0, -math.log10(condition) / 2, dim, dtype=torch.double)
    precision, mean = (q / s.square()) @ q.T, randn(dim, seed=dim + 1)
    sd = (q * s).square().sum(1).sqrt()
    return target(
        f"normal D{dim} condition {condition:.0e}",
        dim,
        lambda u: -0.5 * ((u - mean) @ precision * (u - mean)).sum(-1),
        mean,
        sd,
    )


def log_gamma(dim: int, a: float) -> Target:
    at = torch.tensor(a, dtype=torch.double)
    mean, sd = full(dim, float(torch.digamma(at))), full(dim, float(torch.polygamma(1, at).sqrt()))
    return target(f"log gamma({a}) D{dim}", dim, lambda u: (a * u - u.exp()).sum(-1), mean, sd)


def gamma(dim: int, a: float) -> Target:
    """The same density, its exponential looked at."""
    return target(
        f"gamma({a}) D{dim}",
        dim,
        lambda u: (a * u - u.exp()).sum(-1),
        full(dim, a),
        full(dim, a**0.5),
        lambda u: u.exp(),
    )


def student(dim: int, df: float) -> Target:
    sd = math.sqrt(df / (df - 2)) if df > 2 else math.inf
    return target(
        f"t{df:.0f} D{dim}",
        dim,
        lambda u: -(df + dim) / 2 * torch.log1p(u.square().sum(-1) / df),
        full(dim, 0.0),
        full(dim, sd),
    )


def students(dim: int, df: float) -> Target:
    sd = full(dim, math.sqrt(df / (df - 2)))
    return target(
        f"independent t{df:.0f} D{dim}",
        dim,
        lambda u: -(df + 1) / 2 * torch.log1p(u.square() / df).sum(-1),
        full(dim, 0.0),
        sd,
    )


def banana(dim: int, bend: float) -> Target:
    def log_prob(u: Tensor) -> Tensor:
        return -0.5 * (
            u[:, 0].square() + (u[:, 1] - bend * (u[:, 0].square() - 1)).square() + u[:, 2:].square().sum(-1)
        )

    sd = full(dim, 1.0)
    sd[1] = math.sqrt(1 + 2 * bend**2)
    return target(f"banana {bend} D{dim}", dim, log_prob, full(dim, 0.0), sd)


def funnel(dim: int, scale: float = 1.5) -> Target:
    def log_prob(u: Tensor) -> Tensor:
        v, x = u[:, 0], u[:, 1:]
        return -0.5 * (v / scale).square() - 0.5 * x.square().sum(-1) * torch.exp(-v) - (dim - 1) / 2 * v

    sd = full(dim, math.exp(scale**2 / 4))
    sd[0] = scale
    return target(f"funnel {scale} D{dim}", dim, log_prob, full(dim, 0.0), sd)


def two_modes(dim: int, apart: float, share: float = 0.5) -> Target:
    def log_prob(u: Tensor) -> Tensor:
        left = math.log(share) - 0.5 * (u[:, 0] + apart / 2).square()
        right = math.log(1 - share) - 0.5 * (u[:, 0] - apart / 2).square()
        return torch.logaddexp(left, right) - 0.5 * u[:, 1:].square().sum(-1)

    mean, sd = full(dim, 0.0), full(dim, 1.0)
    mean[0] = (1 - 2 * share) * apart / 2
    sd[0] = math.sqrt(1 + apart**2 * share * (1 - share))
    return target(f"two modes {apart:.0f} SD, {share}, D{dim}", dim, log_prob, mean, sd)


def ring(radius: float = 4.0, width: float = 0.5) -> Target:
    r = torch.linspace(1e-6, radius + 8 * width, 200001, dtype=torch.double)
    w = r * torch.exp(-0.5 * ((r - radius) / width).square())
    sd = float(((w * r.square()).sum() / w.sum() / 2).sqrt())
    return target(
        f"ring {radius:.0f}",
        2,
        lambda u: -0.5 * ((u.norm(dim=-1) - radius) / width).square(),
        full(2, 0.0),
        full(2, sd),
    )


def spike_and_slab(dim: int, narrow: float = 0.1) -> Target:
    def log_prob(u: Tensor) -> Tensor:
        squares = u.square().sum(-1)
        return torch.logaddexp(-0.5 * squares / narrow**2 - dim * math.log(narrow), -0.5 * squares)

    return target(
        f"spike and slab D{dim}", dim, log_prob, full(dim, 0.0), full(dim, math.sqrt(0.5 * narrow**2 + 0.5))
    )


def inside(name: str, widths: Tensor, share: float, off: float = 0.0) -> Target:
    """A unit normal at 0.4, and inside of it a narrow one, moved along the last coordinate."""
    dim = len(widths)
    bulk = full(dim, 0.4)
    place = bulk.clone()
    place[-1] += off

    def log_prob(u: Tensor) -> Tensor:
        wide = math.log(1 - share) - 0.5 * (u - bulk).square().sum(-1)
        narrow = math.log(share) - 0.5 * ((u - place) / widths).square().sum(-1) - widths.log().sum()
        return torch.logaddexp(wide, narrow)

    mean = (1 - share) * bulk + share * place
    var = (1 - share) * (1 + (bulk - mean).square()) + share * (widths.square() + (place - mean).square())
    where = f"{off:.0f} SD off" if off else "in the middle"
    return target(f"{name} of {share} {where}, D{dim}", dim, log_prob, mean, var.sqrt())


def spike(dim: int, width: float, share: float, off: float = 0.0) -> Target:
    return inside(f"spike {width}", full(dim, width), share, off)


def ridge(dim: int, width: float, share: float, length: float = 1.0) -> Target:
    """Narrow in all coordinates but the first."""
    widths = full(dim, width)
    widths[0] = length
    return inside(f"ridge {width} by {length}", widths, share)


def exponential_of_a_wide_normal(dim: int, sd: float = 6.0) -> Target:
    """Independent normals, and the exponential of the first: no draws tell its moments, though it has all of them."""
    mean = math.exp(sd**2 / 2)
    return target(
        f"exponential of N(0, {sd:.0f}), D{dim}",
        dim,
        lambda u: -0.5 * (u / sd).square().sum(-1),
        torch.cat([full(dim, 0.0), full(1, mean)]),
        torch.cat([full(dim, sd), full(1, mean * math.sqrt(math.expm1(sd**2)))]),
        lambda u: torch.cat([u, u[:, :1].exp()], -1),
    )


def hierarchical(groups: int, tau: float, seed: int, centred: bool) -> Target:
    """A normal hierarchy with unit noise, mu ~ N(0, 5), tau ~ HalfCauchy(5): exact by a grid over log tau."""
    y = tau * randn(groups, seed=seed) + randn(groups, seed=seed + 100)

    def log_prob(u: Tensor) -> Tensor:
        mu, log_tau, rest = u[:, :1], u[:, 1:2], u[:, 2:]
        theta = rest if centred else mu + log_tau.exp() * rest
        prior = (
            -0.5 * ((rest - mu) * torch.exp(-log_tau)).square() - log_tau if centred else -0.5 * rest.square()
        )
        hyper = -0.5 * (mu / 5).square() - torch.log1p((log_tau.exp() / 5).square()) + log_tau
        return (prior - 0.5 * (y - theta).square()).sum(-1) + hyper.squeeze(-1)

    def quantities(u: Tensor) -> Tensor:
        theta = u[:, 2:] if centred else u[:, :1] + u[:, 1:2].exp() * u[:, 2:]
        return torch.cat([u[:, :1], u[:, 1:2].exp(), theta], -1)

    mean, sd = _hierarchical_truth(y)
    return target(
        f"hierarchy {groups}, tau {tau}, {'centred' if centred else 'non-centred'}",
        groups + 2,
        log_prob,
        mean,
        sd,
        quantities,
    )


def _hierarchical_truth(y: Tensor) -> tuple[Tensor, Tensor]:
    log_tau = torch.linspace(-20, 8, 40001, dtype=torch.double).unsqueeze(-1)
    tau = log_tau.exp()
    w = 1 / (1 + tau.square()) * torch.ones_like(y)
    precision = w.sum(1) + 1 / 25
    at = (w * y).sum(1) / precision
    log_p = (w.log() - w * y.square()).sum(1) / 2 - precision.log() / 2 + at.square() * precision / 2
    p = (log_p - torch.log1p((tau / 5).square()).squeeze() + log_tau.squeeze()).softmax(0).unsqueeze(-1)
    shrink = tau.square() / (1 + tau.square())
    theta = shrink * y + (1 - shrink) * at.unsqueeze(-1)
    theta_var = shrink + (1 - shrink).square() / precision.unsqueeze(-1)
    means = torch.cat([at.unsqueeze(-1), tau, theta], -1)
    squares = torch.cat(
        [(1 / precision).unsqueeze(-1) + at.unsqueeze(-1).square(), tau.square(), theta_var + theta.square()],
        -1,
    )
    mean = (p * means).sum(0)
    return mean, ((p * squares).sum(0) - mean.square()).sqrt()


def linear_regression(dim: int, scales: float, seed: int = 7) -> Target:
    """Conjugate, noise known, predictors whose units span ``scales``."""
    n = 5 * dim
    x = randn(n, dim, seed=seed) * torch.logspace(0, math.log10(scales), dim, dtype=torch.double)
    y = x @ (randn(dim, seed=seed + 1) / x.std(0)) + randn(n, seed=seed + 2)
    prior = x.std(0).square() / 100
    precision = x.T @ x + torch.diag(prior)
    cov = torch.linalg.inv(precision)
    return target(
        f"regression D{dim}, units {scales:.0e}",
        dim,
        lambda b: -0.5 * (y - b @ x.T).square().sum(-1) - 0.5 * (b.square() * prior).sum(-1),
        cov @ (x.T @ y),
        cov.diagonal().sqrt(),
    )


def variance(n: int, seed: int = 3) -> Target:
    """Mean and variance of normal data under the conjugate prior: the marginals are t and inverse gamma."""
    y = 3 + 2 * randn(n, seed=seed)
    a, b, k = 3 + n / 2, 2.0, 1.0 + n
    centre = y.sum() / k
    b = b + 0.5 * float(y.square().sum() - k * centre.square())

    def log_prob(u: Tensor) -> Tensor:
        m, log_v = u[:, 0], u[:, 1]
        return -(a + 0.5) * log_v - (b + 0.5 * k * (m - centre).square()) * torch.exp(-log_v)

    mean = torch.tensor([float(centre), b / (a - 1)], dtype=torch.double)
    sd = torch.tensor([math.sqrt(b / (a - 1) / k), b / (a - 1) / math.sqrt(a - 2)], dtype=torch.double)
    return target(
        f"normal data, {n}", 2, log_prob, mean, sd, lambda u: torch.stack([u[:, 0], u[:, 1].exp()], -1)
    )


def mixture_weight(n: int, seed: int = 5) -> Target:
    """The share of two known components, the memberships summed out: exact by a grid."""
    generator = _generator(seed)
    first = torch.rand(n, generator=generator, dtype=torch.double) < 0.3
    y = torch.where(first, -1.0, 1.5) + randn(n, seed=seed + 1)

    def log_prob(u: Tensor) -> Tensor:
        log_w, log_v = torch.nn.functional.logsigmoid(u), torch.nn.functional.logsigmoid(-u)
        parts = torch.logaddexp(log_w - 0.5 * (y + 1).square(), log_v - 0.5 * (y - 1.5).square())
        return parts.sum(-1) + (log_w + log_v).squeeze(-1)

    grid = torch.linspace(-12, 12, 20001, dtype=torch.double).unsqueeze(-1)
    p = log_prob(grid).softmax(0)
    w = grid.squeeze(-1).sigmoid()
    mean = (p * w).sum()
    sd = ((p * w.square()).sum() - mean.square()).sqrt()
    return target(f"share of a mixture, {n}", 1, log_prob, mean.reshape(1), sd.reshape(1), torch.sigmoid)


def all_targets() -> Iterator[Target]:
    """Every one; the names are unique."""
    yield from (gauss(2, 1e2), gauss(10, 1e6), gauss(50, 1e4), gauss(100, 1e4))
    yield from (log_gamma(5, 1.0), log_gamma(20, 1.0), log_gamma(50, 2.0), gamma(5, 1.0), gamma(20, 3.0))
    yield from (student(5, 3.0), student(10, 5.0), students(5, 4.0), students(20, 4.0), student(2, 1.0))
    yield from (banana(2, 0.3), banana(2, 1.0), banana(10, 1.0), banana(2, 3.0))
    yield from (funnel(3), funnel(10), funnel(10, 3.0))
    for apart, share in ((2.0, 0.5), (4.0, 0.5), (6.0, 0.3), (10.0, 0.5), (10.0, 0.1), (30.0, 0.5)):
        yield two_modes(2, apart, share)
    yield from (two_modes(1, 6.0, 0.4), two_modes(10, 6.0), two_modes(10, 10.0, 0.3), two_modes(20, 8.0, 0.4))
    yield from (ring(), spike_and_slab(3), spike_and_slab(10))
    for groups, tau, seed in ((5, 1.0, 1), (20, 1.0, 2), (50, 1.0, 3), (20, 0.1, 4)):
        yield hierarchical(groups, tau, seed, centred=True)
    for groups, tau, seed in ((20, 1.0, 2), (20, 0.1, 4), (50, 0.3, 5)):
        yield hierarchical(groups, tau, seed, centred=False)
    yield from (spike(2, 0.02, 0.1, 1.0), spike(5, 0.02, 0.3), spike(10, 0.2, 0.3), spike(20, 0.02, 0.3))
    yield from (
        spike(20, 0.02, 0.1),
        spike(20, 0.2, 0.1, 1.0),
        ridge(5, 0.02, 0.3),
        ridge(10, 0.02, 0.3, 0.3),
    )
    yield exponential_of_a_wide_normal(4)
    yield from (linear_regression(8, 1e5), linear_regression(40, 1e3), variance(20), mixture_weight(30))
