"""Mixtures that adapt, and chains that check."""

from __future__ import annotations

import pytest
import torch
from tests.fit.known_answers import gauss, ring, student, two_modes

from ember.infer.vi.density import Counted
from ember.infer.vi.families.normal import Normal
from ember.infer.vi.hmc import Chains, chains, run_chains
from ember.infer.vi.population import Population, first_mixture, population, tempered
from ember.ops.psis import psis


def test_a_mixture_goes_round_a_ring() -> None:
    known = ring()
    p = Counted(known.density)
    wide = Normal(torch.zeros(2, dtype=torch.double), 3 * torch.eye(2, dtype=torch.double))
    start = first_mixture([wide], Population(), 0)
    *_, fitted = population(p, start)
    ratios = [
        known.density(u, grad=False) - log_q for u, log_q in (start.sample(8192, 1), fitted.sample(8192, 1))
    ]
    assert psis(ratios[1]).ess > 1.5 * psis(ratios[0]).ess
    assert psis(ratios[1]).k_hat < 0.5


def test_weights_are_flattened_until_enough_count() -> None:
    log_w = torch.linspace(0, 500, 1000, dtype=torch.double)
    weights = tempered(log_w, 100.0)
    assert 1 / float(weights.square().sum()) > 100
    assert float(weights.sum()) == pytest.approx(1)


@pytest.mark.parametrize("known", [gauss(5, 1e4), student(3, 5.0)], ids=lambda known: known.name)
def test_chains_keep_the_moments(known: object) -> None:
    """From exact draws, 256 chains of 40: the error of a mean is about 1/16 SD at most."""
    from tests.fit.known_answers import Target

    assert isinstance(known, Target)
    start = Normal(known.mean, torch.diag(known.sd))
    u, log_q = start.sample(4096, 1)
    weights = psis(known.density(u, grad=False) - log_q).log_weights.exp()
    drawn = u[torch.multinomial(weights, 256, replacement=True)]
    found = run_chains(Counted(known.density), drawn, start, known.quantities, Chains(60, 60), 0)
    assert float(((found.mean - known.mean) / known.sd).abs().max()) < 0.2
    assert float((found.sd / known.sd).log().abs().max()) < 0.2
    assert 0.6 < found.accepted < 0.97


def test_chains_show_a_shift() -> None:
    known = gauss(3, 1.0)
    around = Normal(known.mean, torch.eye(3, dtype=torch.double))
    start = around.sample(256, 1)[0] + 2
    states = list(chains(Counted(known.density), start, around, Chains(0, 3), 0))
    assert len(states) == 3
    assert float((start - states[-1].u).mean()) > 0.3


def test_chains_do_not_cross() -> None:
    """What a check by chains cannot see: a mode that no draw was near."""
    known = two_modes(2, 20.0)
    around = Normal(torch.tensor([10.0, 0.0], dtype=torch.double), torch.eye(2, dtype=torch.double))
    found = run_chains(
        Counted(known.density), around.sample(64, 0)[0], around, known.quantities, Chains(20, 20), 0
    )
    assert float(found.mean[0]) == pytest.approx(10, abs=0.5)
