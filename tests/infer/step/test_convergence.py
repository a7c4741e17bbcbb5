"""Iterates as arrays: what is kept, R-hat, errors of averages, windows, and the rule."""

from __future__ import annotations

import math

import pytest
import torch

from ember.errors import ModelError
from ember.infer.step.convergence.diagnostics import Average, average, split_r_hat
from ember.infer.step.convergence.iterates import Iterates
from ember.infer.step.convergence.rule import StoppingRule, divergence, look, moved
from ember.infer.step.convergence.windows import best_window


def autoregression(n, columns, rho, seed=0):
    """Stationary, of variance 1: an average of n is worth about n (1 - rho) / (1 + rho) draws."""
    noise = torch.randn(n, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rows = [noise[0]]
    for row in noise[1:]:
        rows.append(rho * rows[-1] + math.sqrt(1 - rho**2) * row)
    return torch.stack(rows)


@pytest.mark.parametrize("steps", [1, 64, 1023, 1024, 1025, 5000])
def test_what_is_kept_has_even_distances_and_ends_near_the_end(steps):
    iterates = Iterates(every=2)
    for step in range(steps):
        iterates.note(torch.tensor([float(step), -1.0]))
    kept = iterates.rows[:, 0]
    assert len(iterates) <= 1024 and iterates.steps == 2 * steps
    if len(kept) > 1:
        assert (kept.diff() == iterates.every / 2).all()
    assert steps - 1 - kept[-1] < iterates.every / 2
    iterates.clear()
    iterates.note(torch.zeros(3))
    assert len(iterates) == 1 and iterates.every == 2
    with pytest.raises(ValueError, match="has 2 entries, those before had 3"):
        iterates.note(torch.zeros(2))


def test_r_hat_of_known_sequences():
    noise = autoregression(400, 3, 0.0)
    assert (split_r_hat(noise) - 1).abs().max() < 0.02
    # Halves that differ by d standard deviations: within 1, between d^2 / 2, so R-hat is sqrt(1 + d^2 / 2).
    shifted = noise + 2.0 * (torch.arange(400) >= 200).unsqueeze(-1)
    assert (split_r_hat(shifted) - math.sqrt(3)).abs().max() < 0.3
    assert split_r_hat(noise + torch.linspace(0, 5, 400).unsqueeze(-1)).min() > 1.3
    still = torch.full((40, 1), 0.1) + torch.finfo(torch.float32).eps * torch.arange(40).unsqueeze(-1) / 40
    assert split_r_hat(still) == 1.0


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_error_of_an_average(rho):
    found = average(autoregression(1000, 200, rho) + 3.0)
    expected = 1000 * (1 - rho) / (1 + rho)
    assert float(found.ess.median()) == pytest.approx(expected, rel=0.2)
    # Of 200 averages the errors are those that are claimed, to about 10 %.
    z = (found.mean - 3.0) / found.mcse
    assert 0.8 < float(z.square().mean().sqrt()) < 1.25


def test_averages_of_what_stays():
    found = average(torch.full((30, 2), 5.0))
    assert (
        found.mean.tolist() == [5.0, 5.0]
        and found.mcse.tolist() == [0.0, 0.0]
        and found.ess.tolist() == [30, 30]
    )


def test_windows_leave_the_beginning_out():
    rows = autoregression(500, 4, 0.0)
    assert best_window(rows, 1.1).start == 500 - 475
    late = rows.clone()
    late[:250, 2] += torch.linspace(20.0, 0.0, 250)
    window = best_window(late, 1.1)
    assert 500 - window.start == int(0.575 * 500) and window.worst < 1.1
    late[:, 2] += torch.linspace(0.0, 50.0, 500)
    window = best_window(late, 1.1)
    assert window.worst > 1.1 and int(window.r_hat.argmax()) == 2
    assert best_window(rows[:20], 1.1) is None


def test_a_look_asks_for_stationarity_then_for_small_errors():
    rule, rows = StoppingRule(), autoregression(500, 3, 0.3)
    units = torch.tensor([0.0, 1.0, 1.5], dtype=torch.float64)
    found = look(rows, units, rule)
    assert found.is_known(rule) and found.mcse == pytest.approx(1.5 * math.sqrt(1.3 / 0.7 / 475), rel=0.3)
    assert not look(rows, None, rule).is_known(rule)
    assert not look(rows, 10 * units, rule).is_known(rule)  # noise of 10 standard deviations of the guide
    assert not look(autoregression(500, 3, 0.98), units, rule).is_known(rule)
    trend = look(rows + torch.linspace(0, 9, 500).unsqueeze(-1), units, rule)
    assert trend.average is None and not trend.is_known(rule)


def test_how_far_averages_have_moved():
    ess = torch.tensor([30.0, 30.0])
    before = Average(torch.tensor([0.0, 1.0]), ess, torch.tensor([0.03, 0.0]))
    now = Average(torch.tensor([0.3, 1.0]), ess, torch.tensor([0.04, 0.0]))
    assert moved(before, now, torch.tensor([2.0, 1.0])) == pytest.approx(2 * (0.3 - 2 * 0.05))
    assert moved(before, now, torch.tensor([0.0, 1.0])) == 0.0
    # Normals of standard deviation 1/2 whose means are 0.3 apart: (0.3 / 0.5)^2 in both directions together.
    assert divergence(before, now, torch.tensor([2.0, 1.0])) == pytest.approx(0.36)


def test_looks_come_further_and_further_apart():
    rule, steps, looks = StoppingRule(), 0, []
    while steps < 100_000:
        steps = rule.next_look(steps)
        looks.append(steps)
    assert looks[:3] == [1000, 1200, 1440] or looks[0] == 1000
    assert all(step % rule.every == 0 for step in looks) and len(looks) < 120


@pytest.mark.parametrize(
    "wrong", [{"r_hat": 1.0}, {"mcse": 0.0}, {"ess": -1.0}, {"window": 100}, {"growth": 1.0}]
)
def test_rules_that_cannot_be(wrong):
    with pytest.raises(ModelError, match=next(iter(wrong))):
        StoppingRule(**wrong)
