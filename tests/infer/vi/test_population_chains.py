"""Mixtures that adapt, and chains that check."""

from __future__ import annotations

import pytest
import torch
from tests.fit.known_answers import gauss, ring, student, two_modes

from ember.infer.vi.density import Counted
from ember.infer.vi.families.charts import AffineChart, BentChart, Chart
from ember.infer.vi.families.couplings import Couplings
from ember.infer.vi.families.normal import Normal
from ember.infer.vi.families.skewed import SinhArcsinh
from ember.infer.vi.families.warped import Warped
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
    found = run_chains(Counted(known.density), drawn, AffineChart(start), known.quantities, Chains(60, 60), 0)
    assert float(((found.mean - known.mean) / known.sd).abs().max()) < 0.2
    assert float((found.sd / known.sd).log().abs().max()) < 0.2
    assert 0.6 < found.accepted < 0.97


def test_chains_show_a_shift() -> None:
    known = gauss(3, 1.0)
    around = Normal(known.mean, torch.eye(3, dtype=torch.double))
    start = around.sample(256, 1)[0] + 2
    states = list(chains(Counted(known.density), start, AffineChart(around), Chains(0, 3), 0))
    assert len(states) == 3
    assert float((start - states[-1].u).mean()) > 0.3


def test_chains_do_not_cross() -> None:
    """What a check by chains cannot see: a mode that no draw was near."""
    known = two_modes(2, 20.0)
    around = Normal(torch.tensor([10.0, 0.0], dtype=torch.double), torch.eye(2, dtype=torch.double))
    found = run_chains(
        Counted(known.density),
        around.sample(64, 0)[0],
        AffineChart(around),
        known.quantities,
        Chains(20, 20),
        0,
    )
    assert float(found.mean[0]) == pytest.approx(10, abs=0.5)


def bent(dim: int, scale: float) -> Warped:
    """A flow whose numbers are random."""
    flow = Couplings.identity(SinhArcsinh.identity(dim), seed=1)
    generator = torch.Generator().manual_seed(2)
    numbers = flow.parameters + scale * torch.randn(
        len(flow.parameters), dtype=torch.double, generator=generator
    )
    root = torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.1, 0.7]], dtype=torch.double)[:dim, :dim]
    return Warped(flow.with_parameters(numbers), Normal(torch.ones(dim, dtype=torch.double), root))


@pytest.mark.parametrize("chart", [AffineChart(bent(3, 0.0).around), BentChart(bent(3, 0.2))])
def test_the_score_in_a_chart_is_that_of_differences(chart: Chart) -> None:
    p = Counted(student(3, 5.0).density)
    e = torch.randn(7, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    at = chart.places(p, e)
    torch.testing.assert_close(chart.inverse(at.u), e)
    torch.testing.assert_close(at.log_p, p.value(at.u))
    for i in range(3):
        step = torch.zeros(3, dtype=torch.double)
        step[i] = 1e-5
        ahead, behind = chart.places(p, e + step), chart.places(p, e - step)
        slope = (ahead.log_density - behind.log_density) / 2e-5
        torch.testing.assert_close(at.score[:, i], slope, rtol=1e-6, atol=1e-8)


def test_chains_in_a_bent_chart_have_the_moments_of_the_target() -> None:
    """However bad the chart: it changes how fast chains move, not where they end."""
    known = gauss(3, 10.0)
    start = Normal(known.mean, torch.diag(known.sd)).sample(256, 1)[0]
    found = run_chains(
        Counted(known.density), start, BentChart(bent(3, 0.05)), known.quantities, Chains(100, 200), 0
    )
    assert float(((found.mean - known.mean) / known.sd).abs().max()) < 0.1
    assert float((found.sd / known.sd).log().abs().max()) < 0.1
