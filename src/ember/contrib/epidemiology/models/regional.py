"""Models of the structure S-I-R in several regions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.contrib.epidemiology.compartmental import CompartmentalModel
from ember.contrib.epidemiology.distributions import binomial_dist, infection_dist
from ember.contrib.epidemiology.interface import State, Time
from ember.contrib.epidemiology.models.steps import Data, flow, mean_duration, observed_at
from ember.primitives import deterministic, sample


class RegionalSIR(CompartmentalModel):
    """Base: infections cross regions by a matrix of couplings.

    Args:
        population: one entry a region.
        coupling: pairwise, of shape ``(regions, regions)``, in [0, 1]; all ones are one region, the identity
            is independent ones.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one row a time step, one column a region.

    Raises:
        AssertionError: for shapes that do not fit, or arguments out of range.
    """

    def __init__(self, population: Tensor, coupling: Tensor, recovery_time: float, data: Data) -> None:
        assert isinstance(population, Tensor), (
            f"population is a vector, one entry a region, and not {population!r}"
        )
        # Whole numbers as they may be, they are multiplied by couplings.
        super().__init__(("S", "I"), len(data), population.to(coupling), approximate=("I",))
        regions = len(population)
        assert coupling.shape == (regions, regions), (
            f"coupling is of shape {(regions, regions)}, and not {tuple(coupling.shape)}"
        )
        assert bool(((coupling >= 0) & (coupling <= 1)).all()), f"couplings are in [0, 1]: {coupling}"
        shape = tuple(getattr(data, "shape", (self.duration, regions)))
        assert shape == (self.duration, regions), (
            f"data is of shape {(self.duration, regions)}, and not {shape}"
        )
        self.coupling = coupling
        self.recovery_time = mean_duration("recovery_time", recovery_time)
        self.data = data

    def initialize(self, params: Any) -> State:
        """One infected individual in the first region."""
        infected = torch.zeros_like(self.coupling[0])
        infected[0] = 1
        return {"S": self.population - infected, "I": infected}

    def coupled(self, state: State) -> tuple[Tensor, Tensor]:
        """Infectious individuals that a region meets, and the population that it meets.

        The count of its own infectious individuals is exact; those of other regions are approximate.
        """
        own: Any = state["I"] - state["I_approx"]
        infectious: Tensor = state["I_approx"] @ self.coupling + own * self.coupling.diag()
        return infectious.clamp(min=0), self.population @ self.coupling  # type: ignore[operator]

    def spread(self, state: State, t: Time, rate: Any, coupled: tuple[Tensor, Tensor]) -> Any:
        """Infections and recoveries, inside of the plate of regions; returns the infections."""
        infectious, population = coupled
        fn = infection_dist(
            individual_rate=rate,
            num_susceptible=state["S"],
            num_infectious=infectious,
            population=population,
        )
        S2I = flow("S2I", t, fn)
        I2R = flow("I2R", t, binomial_dist(state["I"], 1 / self.recovery_time))
        state["S"] = state["S"] - S2I
        state["I"] = state["I"] + S2I - I2R
        return S2I

    def observe(self, infections: Any, t: Time, rho: Any) -> None:
        """Each infection is seen with probability ``rho``."""
        flow("obs", t, binomial_dist(infections, rho), obs=observed_at(self.data, t, self.duration))


class RegionalSIRModel(RegionalSIR):
    """:class:`SimpleSIRModel` in several regions, with one reproductive number and a response rate for each.

    Args:
        population: one entry a region.
        coupling: pairwise, of shape ``(regions, regions)``, in [0, 1].
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one row a time step, one column a region.

    Raises:
        AssertionError: for shapes that do not fit, or arguments out of range.
    """

    def global_model(self) -> Any:
        """``R0``, the recovery time, and ``rho``, one for each region, by a common beta distribution."""
        R0 = sample("R0", dist.LogNormal(0.0, 1.0))
        hits, misses = (sample(name, dist.Gamma(10, 1)) for name in ("rho_c1", "rho_c0"))
        with self.region_plate:
            rho = sample("rho", dist.Beta(hits, misses))
        return R0, self.recovery_time, rho

    def transition(self, params: Any, state: State, t: Time) -> None:
        """Infections, recoveries, observations."""
        R0, tau, rho = params
        coupled = self.coupled(state)
        with self.region_plate:
            self.observe(self.spread(state, t, R0 / tau, coupled), t, rho)


class HeterogeneousRegionalSIRModel(RegionalSIR):
    """:class:`RegionalSIRModel` whose reproductive number drifts, and whose response rates do so in each
    region.

    Both are random walks, of a logarithm and of log odds, with drifts that are inferred.

    Args:
        population: one entry a region.
        coupling: pairwise, of shape ``(regions, regions)``, in [0, 1].
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one row a time step, one column a region.

    Raises:
        AssertionError: for shapes that do not fit, or arguments out of range.
    """

    def global_model(self) -> Any:
        """The recovery time, ``R0`` and its drift, the first response rates and their drift."""
        R0 = sample("R0", dist.LogNormal(0.0, 1.0))
        R_drift = sample("R_drift", dist.LogNormal(-3.0, 1.0))
        with self.region_plate:
            rho0 = sample("rho0", dist.Beta(4, 4))
        rho_drift = sample("rho_drift", dist.LogNormal(-3.0, 1.0))
        return self.recovery_time, R0, R_drift, rho0, rho_drift

    def initialize(self, params: Any) -> State:
        """One infected individual in the first region; nothing has drifted."""
        drifts = {"R_factor": torch.tensor(1.0), "rho_shift": torch.tensor(0.0)}
        return {**super().initialize(params), **drifts}

    def transition(self, params: Any, state: State, t: Time) -> None:
        """The drifts, infections, recoveries, observations."""
        tau, R0, R_drift, rho0, rho_drift = params
        coupled = self.coupled(state)
        state["R_factor"] = flow("R_factor", t, dist.LogNormal(state["R_factor"].log(), R_drift))
        Rt = deterministic(f"Rt_{t}", R0 * state["R_factor"])
        with self.region_plate:
            state["rho_shift"] = flow("rho_shift", t, dist.Normal(state["rho_shift"], rho_drift))
            rho = deterministic(f"rho_{t}", (rho0.logit() + state["rho_shift"]).sigmoid())
            self.observe(self.spread(state, t, Rt / tau, coupled), t, rho)
