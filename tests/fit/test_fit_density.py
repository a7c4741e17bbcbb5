"""Fits of densities whose answer is known: the numbers, the verdict, and what happens when time or patience runs out."""

from __future__ import annotations

import pytest
import torch

from ember.fit import Options, fit_density
from tests.fit.known_answers import Target, gauss, hierarchical, linear_regression, mixture_weight, variance

EASY = [gauss(10, 1e6), linear_regression(8, 1e5), variance(20), mixture_weight(30)]


@pytest.mark.parametrize("known", EASY, ids=lambda known: known.name)
def test_easy_densities_are_ok(known: Target) -> None:
    outcome = fit_density(known.density, known.quantities)
    moments = outcome.weighed.moments
    assert outcome.verdict, outcome.verdict
    assert float(((moments.mean - known.mean) / known.sd).abs().max()) < 0.05
    assert float((moments.sd / known.sd).log().abs().max()) < 0.05
    assert [stage.name for stage in outcome.stages] == ["locate", "full-rank"]
    assert outcome.evaluations == sum(stage.evaluations for stage in outcome.stages)


def test_the_same_seed_gives_the_same_fit() -> None:
    known = variance(20)
    one, two, other = (fit_density(known.density, known.quantities, Options(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(one.draws, two.draws)
    assert not torch.equal(one.draws, other.draws)


def test_no_time_is_said() -> None:
    known = hierarchical(5, 1.0, 1, centred=True)
    outcome = fit_density(known.density, known.quantities, Options(budget=0.0))
    assert not outcome.verdict
    assert "the budget was spent" in str(outcome.verdict)
    assert len(outcome.draws) == 4096


def test_an_interrupted_fit_returns_what_there_is() -> None:
    calls = 0

    def interrupt(stage: str, elbo: float) -> None:
        nonlocal calls
        calls += 1
        if stage == "full-rank" and calls > 10:
            raise KeyboardInterrupt

    outcome = fit_density(hierarchical(5, 1.0, 1, centred=True).density, options=Options(watch=interrupt))
    assert not outcome.verdict
    assert "interrupted" in str(outcome.verdict)
    assert outcome.stages[-1].note == ""


def test_an_interrupt_before_anything_is_found_is_passed_on() -> None:
    def interrupt(stage: str, elbo: float) -> None:
        raise KeyboardInterrupt

    density = gauss(2, 1e2).density

    class Interrupted:
        dim = 2

        def __call__(self, u: torch.Tensor, grad: bool = True) -> torch.Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_density(Interrupted())  # type: ignore[arg-type]
    assert not fit_density(density, options=Options(watch=interrupt)).verdict
