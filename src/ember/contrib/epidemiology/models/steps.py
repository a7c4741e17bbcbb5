"""What the models below share: flows, observations, and the bases of the structures S-I-R and S-E-I-R."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.contrib.epidemiology.compartmental import CompartmentalModel
from ember.contrib.epidemiology.distributions import binomial_dist, infection_dist
from ember.contrib.epidemiology.interface import State, Time
from ember.primitives import sample

Data = Sequence[Any] | Tensor
Number = float | Tensor


def mean_duration(name: str, value: object) -> float:
    """A mean number of time steps in a compartment.

    Raises:
        AssertionError: if it is no number above 1.
    """
    assert isinstance(value, (float, int)) and value > 1, f"{name} is a number above 1, and not {value!r}"
    return float(value)


def observed_at(series: Data, t: Time, duration: int) -> Tensor | None:
    """The data at a time, or at all times; None after the last.

    Args:
        series: one entry a time step; None where nothing is observed, for simulations.
        t: the time.
        duration: the number of time steps.

    Raises:
        ValueError: if all are asked for, and one is None.
    """
    if isinstance(t, int):
        value = series[t] if t < duration else None
        return None if value is None else torch.as_tensor(value, dtype=torch.get_default_dtype())
    values = series[t]
    if isinstance(values, Tensor):
        return values
    missing = [i for i, value in enumerate(values) if value is None]
    if missing:
        raise ValueError(f"a fit needs data at all {duration} time steps, and entry {missing[0]} is None")
    return torch.as_tensor(values, dtype=torch.get_default_dtype())


def flow(name: str, t: Time, fn: dist.Distribution, obs: Tensor | None = None) -> Tensor:
    """Sample, or observe, a site of a time step."""
    value: Tensor = sample(f"{name}_{t}", fn, obs=obs)
    return value


def reproduction_and_response() -> tuple[Tensor, Tensor]:
    """The basic reproductive number, and the probability that an infection is observed."""
    return sample("R0", dist.LogNormal(0.0, 1.0)), sample("rho", dist.Beta(10, 10))


class SIR(CompartmentalModel):
    """Susceptible, infected and, not counted, recovered individuals, with observed new infections.

    Args:
        population: of all compartments.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.

    Raises:
        AssertionError: for arguments out of range.
    """

    def __init__(self, population: int, recovery_time: float, data: Data) -> None:
        super().__init__(("S", "I"), len(data), population)
        self.recovery_time = mean_duration("recovery_time", recovery_time)
        self.data = data

    def initialize(self, params: object) -> State:
        """One infected individual."""
        return {"S": self.population - 1, "I": 1}

    def spread(
        self, state: State, t: Time, *, rate: Number, overdispersion: Number = 0.0, imported: Number = 0
    ) -> Tensor:
        """Infections at a rate for each infectious individual, and recoveries; returns the infections.

        Args:
            state: is changed.
            t: the time.
            rate: infections by one individual in a step.
            overdispersion: of both flows.
            imported: infectious individuals from outside.
        """
        fn = infection_dist(
            individual_rate=rate,
            num_susceptible=state["S"],
            num_infectious=state["I"] + imported,
            population=self.population,
            overdispersion=overdispersion,
        )
        S2I = flow("S2I", t, fn)
        recovery = binomial_dist(state["I"], 1 / self.recovery_time, overdispersion=overdispersion)
        I2R = flow("I2R", t, recovery)
        state["S"] = state["S"] - S2I
        state["I"] = state["I"] + S2I - I2R
        return S2I

    def observe(self, infections: Number, t: Time, rho: Number, overdispersion: Number = 0.0) -> None:
        """Each infection is seen with probability ``rho``."""
        fn = binomial_dist(infections, rho, overdispersion=overdispersion)
        flow("obs", t, fn, obs=observed_at(self.data, t, self.duration))


class SEIR(CompartmentalModel):
    """Susceptible, exposed, infected and, not counted, recovered individuals, with observed new infections.

    Args:
        population: of all compartments.
        incubation_time: mean number of time steps in E, above 1.
        recovery_time: mean number of time steps in I, above 1.
        data: new observed infections, one entry a time step.
        more: further compartments; none of theirs is infected at first.

    Raises:
        AssertionError: for arguments out of range.
    """

    def __init__(
        self,
        population: int,
        incubation_time: float,
        recovery_time: float,
        data: Data,
        *,
        more: tuple[str, ...] = (),
    ) -> None:
        super().__init__(("S", "E", "I", *more), len(data), population)
        self.incubation_time = mean_duration("incubation_time", incubation_time)
        self.recovery_time = mean_duration("recovery_time", recovery_time)
        self.data = data

    def initialize(self, params: object) -> State:
        """One infected individual."""
        empty = dict.fromkeys(self.compartments, 0)
        return {**empty, "S": self.population - 1, "I": 1}

    def infect(self, state: State, t: Time, *, rate: Number, **options: Any) -> Tensor:
        """Sample the infections of a step."""
        fn = infection_dist(
            individual_rate=rate,
            num_susceptible=state["S"],
            num_infectious=state["I"],
            population=self.population,
            **options,
        )
        return flow("S2E", t, fn)

    def progress(self, state: State, t: Time, overdispersion: Number = 0.0) -> Tensor:
        """Sample how many become infectious in a step."""
        return flow(
            "E2I", t, binomial_dist(state["E"], 1 / self.incubation_time, overdispersion=overdispersion)
        )

    def recover(self, state: State, t: Time, overdispersion: Number = 0.0) -> Tensor:
        """Sample how many recover in a step."""
        return flow(
            "I2R", t, binomial_dist(state["I"], 1 / self.recovery_time, overdispersion=overdispersion)
        )

    def observe(self, infections: Number, t: Time, rho: Number, overdispersion: Number = 0.0) -> None:
        """Each infection is seen with probability ``rho``."""
        fn = binomial_dist(infections, rho, overdispersion=overdispersion)
        flow("obs", t, fn, obs=observed_at(self.data, t, self.duration))


def move(state: State, *, S2E: Number, E2I: Number, I2R: Number) -> None:
    """Change the state by the flows of S-E-I-R."""
    state["S"] = state["S"] - S2E
    state["E"] = state["E"] + S2E - E2I
    state["I"] = state["I"] + E2I - I2R
