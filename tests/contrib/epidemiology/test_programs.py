"""The density that a fit sees, and wavelets, against what they are by hand."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from scipy import stats

import ember
from ember.contrib.epidemiology import models
from ember.contrib.epidemiology.programs import AUXILIARY, generative, relaxed
from ember.contrib.epidemiology.wavelets import NoWavelets, Wavelets

S = [97.0, 94.5, 90.25]
I = [2.5, 4.0, 7.0]  # noqa: E741 - the name of the compartment
DATA = [1.0, 2.0, 1.0]


def _flow(count: float, trials: float, p: float) -> float:
    scale = math.sqrt(max(trials * p * (1 - p), 0.1))
    return float(stats.norm(trials * p, scale).logpdf(count))


def by_hand(R0: float, rho: float) -> float:
    """The log density of priors, flows and observations, in a population of 100."""
    total = stats.lognorm(1.0).logpdf(R0) + stats.beta(10, 10).logpdf(rho)
    before = (99.0, 1.0)
    for s, i, seen in zip(S, I, DATA, strict=True):
        infected = before[0] - s
        recovered = before[1] + infected - i
        total += _flow(infected, before[0], 1 - (1 - R0 / 7.0 / 100.0) ** before[1])
        total += _flow(recovered, before[1], 1 / 7.0)
        total += _flow(seen, infected, rho)
        before = (s, i)
    return float(total)


@pytest.fixture
def model(float64: None) -> models.SimpleSIRModel:
    return models.SimpleSIRModel(100, 7.0, torch.tensor(DATA))


def test_the_density_given_counts(model: models.SimpleSIRModel) -> None:
    values = {"R0": torch.tensor(2.5), "rho": torch.tensor(0.4), AUXILIARY: torch.tensor([S, I])}
    program = ember.poutine.condition(partial(relaxed, model), values)
    found = ember.poutine.trace(program).get_trace().log_prob_sum()
    assert float(found) == pytest.approx(by_hand(2.5, 0.4), rel=1e-6)


def test_the_density_of_particles(model: models.SimpleSIRModel) -> None:
    R0, rho = torch.tensor([1.0, 2.5]), torch.tensor([0.2, 0.4])
    counts = torch.tensor([S, I]).expand(2, 1, 2, 3)
    values = {"R0": R0.unsqueeze(-1), "rho": rho.unsqueeze(-1), AUXILIARY: counts}
    with ember.plate("particles", 2, dim=-2):
        program = ember.poutine.condition(partial(relaxed, model), values)
        found = ember.poutine.trace(program).get_trace().log_prob_sum()
    assert float(found) == pytest.approx(by_hand(1.0, 0.2) + by_hand(2.5, 0.4), rel=1e-6)


def test_wavelets_there_and_back(model: models.SimpleSIRModel) -> None:
    wavelets = Wavelets.of(model)
    values = {"R0": torch.tensor(2.5), "rho": torch.tensor(0.4), AUXILIARY: torch.tensor([S, I])}
    start = ember.infer.autoguide.init_to_value(values=values, fallback=None)
    guide = ember.infer.autoguide.AutoDelta(wavelets.reparam(partial(relaxed, model)), init_loc_fn=start)
    point = {name: value.detach() for name, value in guide().items()}
    assert f"{AUXILIARY}_haar" in point
    assert torch.allclose(wavelets.to_series(point)[AUXILIARY], values[AUXILIARY])
    assert NoWavelets().to_series(point) is point


def test_simulations_go_by_the_priors(model: models.SimpleSIRModel) -> None:
    """One infected individual infects R0 / 7 others on average in the first step, and recovers with 1 / 7."""
    ember.set_rng_seed(0)
    many = ember.poutine.condition(partial(generative, model), {"R0": torch.tensor(3.5)})
    with ember.plate("runs", 20_000, dim=-2):
        trace = ember.poutine.trace(many).get_trace()
    first = {
        name: trace.nodes[f"{name}_0"]["value"].double().mean().item() for name in ("S2I", "I2R", "S", "I")
    }
    assert first["S2I"] == pytest.approx(99 * 0.005, abs=0.02)
    assert first["I2R"] == pytest.approx(1 / 7, abs=0.01)
    assert first["S"] == pytest.approx(99 - first["S2I"]) and first["I"] == pytest.approx(
        1 + first["S2I"] - first["I2R"]
    )
