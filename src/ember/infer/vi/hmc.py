"""Short chains from the draws of a fit, as a check of it: do its moments stay where they are?

References:
    S. Duane, A. Kennedy, B. Pendleton and D. Roweth (1987), "Hybrid Monte Carlo".
    C. Margossian, M. Hoffman, P. Sountsov, L. Riou-Durand, A. Vehtari and A. Gelman (2024), "Nested R-hat".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.charts import Chart, Places
from ember.ops.psis import above_rounding


@dataclass(frozen=True)
class Chains:
    """Holds the settings of :func:`chains`.

    Attributes:
        warm: how many iterations find the step size.
        keep: how many iterations are kept after these.
        target: the share of proposals accepted that the step size aims at.
        length: how far a trajectory goes at most, in standard deviations.
        steps: the most leapfrog steps of a trajectory.
    """

    warm: int = 60
    keep: int = 60
    target: float = 0.8
    length: float = 2.0
    steps: int = 16

    @property
    def iterations(self) -> int:
        """The number of iterations in all."""
        return self.warm + self.keep


@dataclass(frozen=True)
class Chained:
    """The chains after an iteration: places ``(C, D)``, log densities ``(C,)``, and the mean chance of acceptance."""

    u: Tensor
    log_p: Tensor
    accepted: float
    warm: bool


def chains(
    p: Counted, start: Tensor, chart: Chart, settings: Chains = Chains(), seed: int = 0
) -> Iterator[Chained]:
    """Run Hamiltonian Monte Carlo in the coordinates of a chart, all chains at once.

    Args:
        p: the target, of ``D`` coordinates.
        start: a possible place for each chain, shape ``(C, D)``.
        chart: coordinates in which the target is close to a standard normal.
        settings: lengths of runs and trajectories.
        seed: the seed of momenta and acceptance.

    Yields:
        After each iteration, places ``u``, ``(C, D)``, log densities ``log_p``, ``(C,)``, the mean chance of
            acceptance ``accepted``, and whether the step size is still changing, ``warm``.

    References:
        S. Duane, A. Kennedy, B. Pendleton and D. Roweth (1987), "Hybrid Monte Carlo".

    >>> import torch
    >>> from ember.infer.vi import AffineChart, Counted, FunctionDensity, chains
    >>> from ember.infer.vi.families.normal import Normal
    >>> p = Counted(FunctionDensity(1, lambda u: -0.5 * ((u - 3) / 2).square().sum(-1)))
    >>> chart = AffineChart(Normal(torch.zeros(1, dtype=torch.double), torch.eye(1, dtype=torch.double)))
    >>> kept = [s.u for s in chains(p, torch.zeros(64, 1, dtype=torch.double), chart) if not s.warm]
    >>> len(kept), round(float(torch.cat(kept).mean()))
    (60, 3)
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(start)
    at = chart.places(p, chart.inverse(start))
    step = 0.5 * p.dim**-0.25
    for i in range(settings.iterations):
        momentum = torch.randn(count, p.dim, dtype=torch.double, generator=generator)
        jitter = 0.8 + 0.4 * float(torch.rand((), generator=generator))
        most = max(2, min(settings.steps, int(settings.length / step)))
        leaps = int(torch.randint(1, 1 + most, (), generator=generator))
        speed, ended = _leapfrog(p, chart, at, momentum, step * jitter, leaps)
        gain = ended.log_density - at.log_density + 0.5 * (momentum.square() - speed.square()).sum(-1)
        chance = torch.where(torch.isfinite(gain), gain, -torch.inf).clamp(max=0).exp()
        moved = torch.rand(count, dtype=torch.double, generator=generator) < chance
        at = _where(moved, ended, at)
        accepted = float(chance.mean())
        if i < settings.warm:
            step *= math.exp(0.3 * (accepted - settings.target) * (1.0 if i < 0.7 * settings.warm else 0.3))
        yield Chained(at.u, at.log_p, accepted, i < settings.warm)


def _leapfrog(
    p: Counted, chart: Chart, at: Places, speed: Tensor, step: float, leaps: int
) -> tuple[Tensor, Places]:
    for _ in range(leaps):
        speed = speed + 0.5 * step * at.score
        at = chart.places(p, at.e + step * speed)
        speed = speed + 0.5 * step * at.score
    return speed, at


def _where(moved: Tensor, there: Places, here: Places) -> Places:
    rows = moved.unsqueeze(-1)
    return Places(
        torch.where(rows, there.e, here.e),
        torch.where(rows, there.u, here.u),
        torch.where(moved, there.log_p, here.log_p),
        torch.where(moved, there.log_density, here.log_density),
        torch.where(rows, there.score, here.score),
    )


@dataclass(frozen=True)
class Audit:
    """What chains say; per quantity, shape ``(Q,)``.

    Attributes:
        mean: of the kept iterations.
        sd: of these.
        r_hat: across the chains; near 1 if each chain has forgotten where it began.
        drift: of the mean between the halves of the kept iterations, in standard deviations.
        mcse: of the mean, in standard deviations.
        mcse_sd: of the standard deviation, as a fraction.
        accepted: share of proposals.
    """

    mean: Tensor
    sd: Tensor
    r_hat: Tensor
    drift: Tensor
    mcse: Tensor
    mcse_sd: Tensor
    accepted: float

    @property
    def worst_error(self) -> float:
        """Of means, in standard deviations, and of standard deviations, as fractions."""
        return float(torch.maximum(self.mcse, self.mcse_sd).max())

    def only(self, columns: Tensor) -> Audit:
        """Of some of the quantities."""
        return Audit(
            self.mean[columns],
            self.sd[columns],
            self.r_hat[columns],
            self.drift[columns],
            self.mcse[columns],
            self.mcse_sd[columns],
            self.accepted,
        )

    def is_healthy(self, r_hat: float, drift: float) -> bool:
        """Whether every chain has forgotten its start, and nothing moves any more."""
        fixed = self.sd == 0
        still = (self.r_hat < r_hat) & (self.drift < drift + 2 * self.mcse)
        return bool((still | fixed).all()) and self.accepted > 0.4


def audit(values: Tensor, accepted: float) -> Audit:
    """From the quantities of the kept iterations, shape ``(T, C, Q)``."""
    length, count = values.shape[:2]
    of_chains = values.mean(0)
    within = values.var(0).mean(0)
    between = of_chains.var(0)
    r_hat = ((between + within * (length - 1) / length) / within).sqrt()
    flat = values.flatten(0, 1)
    sd = above_rounding(flat.std(0), flat.mean(0))
    halves = (values[: length // 2].mean((0, 1)) - values[length // 2 :].mean((0, 1))).abs() / sd
    squares = (values - flat.mean(0)).square().mean(0)
    mcse_sd = (squares.var(0) / count).sqrt() / (2 * sd.square())
    mcse = (between / count).sqrt() / sd
    fixed = sd == 0
    return Audit(
        flat.mean(0),
        sd,
        r_hat,
        halves,
        mcse.masked_fill(fixed, 0.0),
        mcse_sd.masked_fill(fixed, 0.0),
        accepted,
    )


def run_chains(
    p: Counted,
    start: Tensor,
    chart: Chart,
    quantities: Callable[[Tensor], Tensor],
    settings: Chains,
    seed: int,
) -> Audit:
    """Run chains, and say how their moments compare from chain to chain.

    Args:
        p: the target, of ``D`` coordinates.
        start: a possible place for each chain, shape ``(C, D)``.
        chart: coordinates in which the target is close to a standard normal.
        quantities: a function from places ``(C, D)`` to what is to be known of them, ``(C, Q)``.
        settings: lengths of runs and trajectories.
        seed: the seed of momenta and acceptance.

    Returns:
        A record with ``mean``, ``sd``, ``r_hat`` across chains, ``drift``, ``mcse`` and ``mcse_sd``, ``(Q,)``
            each, and ``accepted``, the share of proposals.

    References:
        C. Margossian, M. Hoffman, P. Sountsov, L. Riou-Durand, A. Vehtari and A. Gelman (2024), "Nested
        R-hat".

    >>> import torch
    >>> from ember.infer.vi import AffineChart, Chains, Counted, FunctionDensity, run_chains
    >>> from ember.infer.vi.families.normal import Normal
    >>> p = Counted(FunctionDensity(1, lambda u: -0.5 * ((u - 3) / 2).square().sum(-1)))
    >>> chart = AffineChart(Normal(torch.zeros(1, dtype=torch.double), torch.eye(1, dtype=torch.double)))
    >>> found = run_chains(p, torch.zeros(64, 1, dtype=torch.double), chart, lambda u: u, Chains(), seed=0)
    >>> round(float(found.mean)), round(float(found.sd))
    (3, 2)
    """
    kept = [state for state in chains(p, start, chart, settings, seed) if not state.warm]
    accepted = sum(state.accepted for state in kept) / len(kept)
    return audit(torch.stack([quantities(state.u) for state in kept]), accepted)
