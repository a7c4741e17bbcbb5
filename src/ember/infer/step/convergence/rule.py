"""When to average, when to halve the rate, when to stop.

At a constant rate the iterates of a stochastic optimizer become stationary around a point whose distance from
the optimum is proportional to the rate. So iterates are averaged once they are stationary; the rate is
halved; and what the average moves by then is about what is left of that distance. When that is small beside
the spread of the guide, another halving is not worth its cost, twice the steps so far.

References:
    M. Welandawe, M. R. Andersen, A. Vehtari and J. H. Huggins (2022), "Robust, automated, and accurate
    black-box variational inference" (RABVI).
    A. Dieuleveut, A. Durmus and F. Bach (2020), "Bridging the gap between constant step size stochastic
    gradient descent and Markov chains": the bias is proportional to the rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ember.errors import ModelError
from ember.infer.step.convergence.diagnostics import Average, average
from ember.infer.step.convergence.windows import Window, best_window


@dataclass(frozen=True)
class StoppingRule:
    """Says when a run under ``until="converged"`` has converged (Welandawe et al., 2022).

    Parameters are measured in *guide units*: one is a change of the guide by one standard deviation of a
    location, or by a factor of about two of a scale (see :mod:`ember.infer.step.training.units`).

    Args:
        r_hat: the largest split R-hat that a parameter may have, above 1.
        mcse: the largest Monte Carlo error that an averaged parameter may have, in guide units.
        ess: how many independent iterates each average is worth at least.
        moved: by how much halving the rate may move an average, in guide units.
        every: steps from one iterate that is kept to the next.
        window: steps of the shortest run that is judged, at least 25 times ``every``.
        growth: by what factor runs grow from one look to the next, above 1.

    Raises:
        ModelError: if ``mcse``, ``ess`` or ``moved`` is not positive, ``r_hat`` or ``growth`` not above 1,
            ``every`` below 1, or ``window`` below 25 times ``every``.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.infer import StoppingRule
    >>> def model(x):
    ...     loc = ember.sample("loc", dist.Normal(0.0, 10.0))
    ...     with ember.plate("data", len(x)):
    ...         ember.sample("x", dist.Normal(loc, 1.0), obs=x)
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.02}), ember.infer.Trace_ELBO())
    >>> rule = StoppingRule(mcse=0.05)
    >>> result = svi.run(torch.ones(20), until="converged", rule=rule, progress=False)
    >>> result.convergence.converged
    True
    """

    r_hat: float = 1.1
    mcse: float = 0.1
    ess: float = 25.0
    moved: float = 0.1
    every: int = 20
    window: int = 1000
    growth: float = 1.2

    def __post_init__(self) -> None:
        for name in ("mcse", "ess", "moved"):
            if not getattr(self, name) > 0:
                raise ModelError(f"{name} must be positive, got {getattr(self, name)!r}")
        if not self.r_hat > 1 or not self.growth > 1:
            raise ModelError(f"r_hat and growth must be above 1, got {self.r_hat!r} and {self.growth!r}")
        if self.every < 1 or self.window < 25 * self.every:
            raise ModelError(
                f"window must be at least 25 times every, so that there is something to compare; got {self.window!r} and "
                f"{self.every!r}"
            )

    def next_look(self, steps: int) -> int:
        """Return after how many steps at a rate to look again, a multiple of :attr:`every`.

        Args:
            steps: the number of steps at the rate so far.
        """
        wanted = max(self.window, steps + min(self.window, int((self.growth - 1) * steps)))
        return max(steps + self.every, -(-wanted // self.every) * self.every)


@dataclass(frozen=True)
class Look:
    """What iterates at one rate say."""

    window: Window
    average: Average | None
    """Of the window, where it is stationary."""
    mcse: float
    """The largest Monte Carlo error, in guide units."""
    ess: float
    """The smallest effective sample size."""

    def is_known(self, rule: StoppingRule) -> bool:
        """Whether the average is known well enough."""
        return self.average is not None and self.mcse < rule.mcse and self.ess > rule.ess


def look(rows: Tensor, units: Tensor | None, rule: StoppingRule) -> Look | None:
    """Judge the iterates of one rate.

    Args:
        rows: in order, ``(n, P)``.
        units: how many guide units a change of each parameter by one is, ``(P,)``; 0 where that is not known.
            None leaves the errors out.
        rule: the limits.

    Returns:
        None if there are too few to tell.
    """
    window = best_window(rows, rule.r_hat)
    if window is None:
        return None
    if not window.worst < rule.r_hat:
        return Look(window, None, torch.inf, 0.0)
    found = average(rows[window.start :])
    mcse = torch.inf if units is None else largest(found.mcse * units)
    return Look(window, found, mcse, float(found.ess.min()) if found.ess.numel() else torch.inf)


def moved(before: Average, now: Average, units: Tensor) -> float:
    """By how many guide units the average of a parameter has moved at least, its Monte Carlo errors considered.

    Args:
        before: at the rate before.
        now: at half that rate.
        units: as for :func:`look`.
    """
    noise = 2.0 * (before.mcse.square() + now.mcse.square()).sqrt()
    return largest(((now.mean - before.mean).abs() - noise).clamp_min(0.0) * units)


def divergence(before: Average, now: Average, units: Tensor) -> float:
    """The symmetrised Kullback-Leibler divergence between guides with these parameters, to second order, without correlations."""
    return float(((now.mean - before.mean) * units).square().sum())


def largest(values: Tensor) -> float:
    """The largest of values, 0 if there are none."""
    return float(values.max()) if values.numel() else 0.0


__all__ = ["Look", "StoppingRule", "divergence", "largest", "look", "moved"]
