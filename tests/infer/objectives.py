"""One row for each objective and estimator; a new one adds a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ember.infer import (
    AnalyticKL,
    DoublyReparameterized,
    EnergyDistance,
    LeaveOneOut,
    RenyiELBO,
    ReweightedWakeSleep,
    StickingTheLanding,
    Trace_ELBO,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
    VarGrad,
)


def gaussian_kernel(X, Z=None):
    Z = X if Z is None else Z
    return torch.exp(-0.5 * (X[:, None] - Z[None]).square().sum(-1))


@dataclass(frozen=True)
class Row:
    """An objective with its estimator, and what it can be used for."""

    name: str
    make: Callable[..., Any]
    """Takes ``num_particles`` and ``vectorize_particles``."""
    needs: str = ""
    """What sites must be: "" anything, "path" a reparameterised guide, "all" model and guide reparameterised."""
    vectorized: tuple[bool, ...] = (False, True)
    has_loss: bool = True

    def accepts(self, known) -> bool:
        """Whether the objective can be used for an entry of the zoo."""
        if self.needs == "likelihood":
            return known.name in ("normal_normal", "local_normals")
        return not self.needs or known.name not in ("normal_normal_score", "bernoulli_mixture")


def _with(objective, **options):
    return lambda **particles: objective(**{"num_particles": 3, **particles}, **options)


def _energy(num_particles=3, vectorize_particles=True):
    return EnergyDistance(num_particles=num_particles, prior_scale=0.5)


ROWS = (
    Row("trace", _with(Trace_ELBO)),
    Row("trace_sticking", _with(Trace_ELBO, entropy=StickingTheLanding())),
    Row("trace_analytic", _with(Trace_ELBO, entropy=AnalyticKL())),
    Row("trace_leave_one_out", _with(Trace_ELBO, control_variate=LeaveOneOut())),
    Row("trace_vargrad", _with(Trace_ELBO, control_variate=VarGrad())),
    Row("mean_field", _with(TraceMeanField_ELBO), "path"),
    Row("graph", _with(TraceGraph_ELBO)),
    Row("enumerated", _with(TraceEnum_ELBO, strict_enumeration_warning=False)),
    Row("tensor_monte_carlo", _with(TraceTMC_ELBO, strict_enumeration_warning=False)),
    Row("renyi", _with(RenyiELBO, alpha=0.3)),
    Row("weighted_leave_one_out", _with(RenyiELBO, control_variate=LeaveOneOut())),
    Row("weighted_doubly", _with(RenyiELBO, gradient=DoublyReparameterized()), "path"),
    Row("wake_sleep", _with(ReweightedWakeSleep)),
    Row("tail_adaptive", _with(TraceTailAdaptive_ELBO), "path", (True,), has_loss=False),
    Row("mmd", _with(Trace_MMD, kernel=gaussian_kernel), "path"),
    Row("energy", _energy, "likelihood", (True,), has_loss=False),
)
