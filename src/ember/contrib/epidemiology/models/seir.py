"""Models of the structure S-E-I-R in one region."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.contrib.epidemiology.distributions import binomial_dist
from ember.contrib.epidemiology.interface import State, Time
from ember.contrib.epidemiology.models.steps import SEIR, Data, flow, move, reproduction_and_response
from ember.primitives import factor, sample


class SimpleSEIRModel(SEIR):
    """Susceptible, exposed, infected and recovered individuals.

    Args:
        population: of all compartments.
        incubation_time: mean number of time steps in E, above 1.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.
    """

    def __init__(self, population: int, incubation_time: float, recovery_time: float, data: Data) -> None:
        super().__init__(population, incubation_time, recovery_time, data)

    def global_model(self) -> Any:
        """``R0``, the incubation and the recovery time, and the response rate ``rho``."""
        R0, rho = reproduction_and_response()
        return R0, self.incubation_time, self.recovery_time, rho

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, their outbreaks, recoveries, observations."""
        R0, _, tau_i, rho = params
        S2E = self.infect(state, t, rate=R0 / tau_i)
        move(state, S2E=S2E, E2I=self.progress(state, t), I2R=self.recover(state, t))
        self.observe(S2E, t, rho)


class OverdispersedSEIRModel(SEIR):
    """:class:`SimpleSEIRModel` with flows and observations that are more dispersed, by one global parameter
    ``od``.

    Args:
        population: of all compartments.
        incubation_time: mean number of time steps in E, above 1.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.
    """

    def __init__(self, population: int, incubation_time: float, recovery_time: float, data: Data) -> None:
        super().__init__(population, incubation_time, recovery_time, data)

    def global_model(self) -> Any:
        """``R0``, the incubation and the recovery time, ``rho`` and ``od``."""
        R0, rho = reproduction_and_response()
        return R0, self.incubation_time, self.recovery_time, rho, sample("od", dist.Beta(2, 6))

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, their outbreaks, recoveries, observations."""
        R0, _, tau_i, rho, od = params
        S2E = self.infect(state, t, rate=R0 / tau_i, overdispersion=od)
        move(state, S2E=S2E, E2I=self.progress(state, t, od), I2R=self.recover(state, t, od))
        self.observe(S2E, t, rho, od)


class SimpleSEIRDModel(SEIR):
    """:class:`SimpleSEIRModel` with deaths, the compartment D.

    Args:
        population: of all compartments.
        incubation_time: mean number of time steps in E, above 1.
        recovery_time: mean number of time steps in I, above 1.
        mortality_rate: the share of infections that end in death, in (0, 1).
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.
    """

    def __init__(
        self,
        population: int,
        incubation_time: float,
        recovery_time: float,
        mortality_rate: float,
        data: Data,
    ) -> None:
        super().__init__(population, incubation_time, recovery_time, data, more=("D",))
        assert isinstance(mortality_rate, float) and 0 < mortality_rate < 1, (
            f"mortality_rate is in (0, 1), and not {mortality_rate!r}"
        )
        self.mortality_rate = mortality_rate

    def global_model(self) -> Any:
        """``R0``, the incubation and the recovery time, the mortality rate, and ``rho``."""
        R0, rho = reproduction_and_response()
        return R0, self.incubation_time, self.recovery_time, self.mortality_rate, rho

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, their outbreaks, deaths, recoveries, observations."""
        R0, _, tau_i, mu, rho = params
        S2E = self.infect(state, t, rate=R0 / tau_i)
        E2I = self.progress(state, t)
        I2D = flow("I2D", t, binomial_dist(state["I"], mu / tau_i))
        I2R = flow("I2R", t, binomial_dist(state["I"] - I2D, 1 / tau_i))
        move(state, S2E=S2E, E2I=E2I, I2R=I2R + I2D)
        state["D"] = state["D"] + I2D
        self.observe(S2E, t, rho)

    def compute_flows(self, prev: State, curr: State, t: Time) -> State:
        """From I there are two ways out."""
        S2E = prev["S"] - curr["S"]
        E2I = prev["E"] - curr["E"] + S2E
        I2D = curr["D"] - prev["D"]
        I2R = prev["I"] - curr["I"] + E2I - I2D
        return {f"S2E_{t}": S2E, f"E2I_{t}": E2I, f"I2D_{t}": I2D, f"I2R_{t}": I2R}


class SuperspreadingSEIRModel(SEIR):
    """:class:`SimpleSEIRModel` in which few individuals infect many, as in :class:`SuperspreadingSIRModel`.

    It can be told when lineages of sequenced genomes meet, too: these times depend on how many are
    infectious.

    Args:
        population: of all compartments.
        incubation_time: mean number of time steps in E, above 1.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.
        leaf_times: when genomes were sampled.
        coal_times: when their lineages meet; both or none, as in
            :class:`~ember.distributions.CoalescentRateLikelihood`.

    Raises:
        AssertionError: for arguments out of range, or one of both times.

    References:
        L. M. Li, N. C. Grassly, C. Fraser (2017), "Quantifying transmission heterogeneity using both pathogen
        phylogenies and incidence time series".
    """

    def __init__(
        self,
        population: int,
        incubation_time: float,
        recovery_time: float,
        data: Data,
        *,
        leaf_times: Tensor | None = None,
        coal_times: Tensor | None = None,
    ) -> None:
        super().__init__(population, incubation_time, recovery_time, data)
        assert (leaf_times is None) == (coal_times is None), "leaf_times and coal_times go together"
        self.coal_likelihood: Any = None
        if leaf_times is not None and coal_times is not None:
            self.coal_likelihood = dist.CoalescentRateLikelihood(leaf_times, coal_times, self.duration)

    def global_model(self) -> Any:
        """``R0``, the concentration ``k``, the incubation and the recovery time, and ``rho``."""
        R0 = sample("R0", dist.LogNormal(0.0, 1.0))
        k = sample("k", dist.Exponential(1.0))
        return R0, k, self.incubation_time, self.recovery_time, sample("rho", dist.Beta(10, 10))

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Outbreaks, recoveries, infections, observations, lineages that meet."""
        R0, k, _, _, rho = params
        E2I, I2R = self.progress(state, t), self.recover(state, t)
        S2E = self.infect(state, t, rate=R0, concentration=k)
        self.observe(S2E, t, rho)
        if self.coal_likelihood is not None:
            factor(f"coalescent_{t}", self._lineages(R0, k, state, t))
        move(state, S2E=S2E, E2I=E2I, I2R=I2R)

    def _lineages(self, R0: Any, k: Any, state: State, t: Time) -> Tensor:
        """The log density of the lineages that meet in a step, given those there are."""
        if isinstance(t, int) and t >= self.duration:
            return torch.tensor(0.0)
        reproduction = R0 * state["S"] / self.population
        rate = reproduction * (1.0 + 1.0 / k) / (self.recovery_time * state["I"] + 1e-8)
        log_density: Tensor = self.coal_likelihood(rate, t)
        return log_density
