"""Parameters of a model at the maximum of its marginal likelihood, with its latent sites integrated out.

The gradient is the posterior mean of the score of the parameters (R. A. Fisher, 1925; T. A. Louis, 1982), over weighed draws
of a normal that is fitted anew at each point. L-BFGS does the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, overload

import torch
from torch import Tensor

from ember.fit.outcome import Outcome
from ember.fit.pipeline import fit_density
from ember.fit.stages import FitNormal, Locate, Stage
from ember.fit.state import Options, State
from ember.infer.density.density import Density
from ember.infer.vi.families.normal import Normal
from ember.infer.vi.natural_gradient import NaturalGradient

_DRAWS = 1 << 13
_POINTS = 40
_ENOUGH = 0.01  # nats
_AGAIN = NaturalGradient()


@dataclass(frozen=True)
class Held:
    """A density with its last coordinates held."""

    density: Density
    parameters: Tensor

    @property
    def dim(self) -> int:
        """How many coordinates are left."""
        return self.density.param_slice.start

    @overload
    def __call__(self, u: Tensor, grad: Literal[True] = True) -> tuple[Tensor, Tensor]: ...

    @overload
    def __call__(self, u: Tensor, grad: Literal[False]) -> Tensor: ...

    def __call__(self, u: Tensor, grad: bool = True) -> Tensor | tuple[Tensor, Tensor]:
        rows = torch.cat([u, self.parameters.expand(len(u), -1)], -1)
        if not grad:
            return self.density(rows, grad=False)
        log_p, score = self.density(rows)
        return log_p, score[:, : self.dim]


@dataclass(frozen=True)
class From:
    """A rung of the ladder that begins at a normal that is known."""

    normal: Normal
    name: str = "start"

    def applies(self, state: State) -> bool:
        """Always."""
        return True

    def rows(self, state: State) -> int:
        """None."""
        return 0

    def overhead(self, state: State) -> float:
        """None."""
        return 0.0

    def run(self, state: State) -> None:
        """Set it."""
        state.normal = self.normal


@dataclass(frozen=True)
class Maximum:
    """Parameters, unconstrained, and whether the search has ended at a maximum; ``reason`` says why not."""

    parameters: Tensor
    log_evidence: float
    reason: str = ""


def maximised(density: Density, options: Options) -> Maximum:
    """The parameters of the highest marginal likelihood that L-BFGS finds from where they start.

    Args:
        density: of a model, its parameters as the last coordinates.
        options: seed and budget; two thirds of it may be spent here.
    """
    search = _Search(density, options)
    theta = density.start[density.param_slice].clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=_POINTS // 2, max_eval=_POINTS, tolerance_grad=1e-3, line_search_fn="strong_wolfe"
    )

    def negative() -> Tensor:
        value, slope = search.at(theta.detach())
        theta.grad = -slope
        return -value

    with torch.enable_grad():
        optimizer.step(negative)  # type: ignore[no-untyped-call]
    return search.best()


class _Search:
    """Points that were tried."""

    def __init__(self, density: Density, options: Options) -> None:
        self._density = density
        self._options = replace(options, draws=min(_DRAWS, options.draws), audit=False)
        self._normal: Normal | None = None
        self._tried: list[tuple[float, Tensor, Tensor]] = []
        self._spent = 0.0

    def at(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The log marginal likelihood at parameters, and its gradient."""
        if self._tried and self._spent > self._options.budget * 2 / 3:
            # L-BFGS ends where nothing changes any more.
            return theta.new_tensor(max(value for value, *_ in self._tried)), torch.zeros_like(theta)
        ladder: list[Stage] = [Locate() if self._normal is None else From(self._normal), FitNormal(_AGAIN)]
        outcome: Outcome = fit_density(Held(self._density, theta), options=self._options, ladder=ladder)
        self._spent += outcome.seconds
        if isinstance(outcome.family, Normal):
            self._normal = outcome.family
        rows = torch.cat([outcome.draws, theta.expand(len(outcome.draws), -1)], -1)
        score = self._density(rows)[1][:, self._density.param_slice]
        slope = (outcome.log_weights.exp().unsqueeze(-1) * score).sum(0)
        ratios = outcome.weighed.log_ratios
        value = torch.logsumexp(ratios, 0) - math.log(len(ratios))
        self._tried.append((float(value), theta.clone(), slope))
        return value, slope

    def best(self) -> Maximum:
        """The best point, and whether there is much left to gain."""
        value, theta, slope = max(self._tried, key=lambda tried: tried[0])
        gain = self._gain(theta, slope)
        reason = "" if gain < _ENOUGH else f"its parameters could still gain {gain:.2g} nats of log evidence"
        return Maximum(theta, value, reason)

    def _gain(self, theta: Tensor, slope: Tensor) -> float:
        """What a Newton step by the differences of gradients between points would gain; the last ones count most."""
        others = [
            (t - theta, s - slope) for _, t, s in self._tried[-8:] if float((t - theta).abs().max()) > 1e-9
        ]
        if not others:
            return float(slope.square().sum())
        # The secant closest to the direction of the gradient bounds the curvature along it.
        steps = torch.stack([step for step, _ in others])
        along = (steps @ slope) / (steps.norm(dim=-1) * slope.norm().clamp_min(1e-12))
        step, change = others[int(along.abs().argmax())]
        curvature = float(-(change @ step) / (step @ step))
        return 0.5 * float(slope.square().sum()) / max(curvature, 1e-6)
