"""Goodness of fit, and samplers for tests."""

from __future__ import annotations

import math

import pytest
import scipy.special
import scipy.stats
import torch

import ember.distributions as dist
from ember.distributions.testing import gof, special
from ember.distributions.testing.naive_dirichlet import NaiveBeta, NaiveDirichlet
from ember.distributions.testing.rejection_exponential import RejectionExponential
from ember.distributions.testing.rejection_gamma import (
    RejectionGamma,
    RejectionStandardGamma,
    ShapeAugmentedBeta,
    ShapeAugmentedDirichlet,
    ShapeAugmentedGamma,
)

# In double precision: near zero and one, many draws are the same number in single.
A = torch.tensor([1.5, 2.0, 3.0], dtype=torch.float64)
B = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
FALSE_ALARMS = 1e-3


@pytest.mark.parametrize("x, s", [(1.0, 2.0), (3.0, 5.0), (40.0, 20.0), (0.0, 3.0)])
def test_special_functions(x: float, s: float) -> None:
    assert special.chi2sf(x, s) == pytest.approx(scipy.stats.chi2.sf(x, s))
    assert special.incomplete_gamma(x, s) == pytest.approx(scipy.special.gammainc(s, x) * math.gamma(s))


def test_pearsons_test() -> None:
    probs, counts = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([22.0, 33.0, 45.0])
    mean, var = 100 * probs, 100 * probs * (1 - probs)
    statistic = ((counts - mean) ** 2 / var).sum().item()
    assert gof.multinomial_goodness_of_fit(probs, counts) == pytest.approx(scipy.stats.chi2.sf(statistic, 2))
    part = ((counts - mean) ** 2 / var)[:2].sum().item()
    truncated = gof.multinomial_goodness_of_fit(probs[:2], counts[:2], total_count=100)
    assert truncated == pytest.approx(scipy.stats.chi2.sf(part, 2))
    with pytest.warns(UserWarning, match="zero probability"):
        assert gof.multinomial_goodness_of_fit(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 9.0])) == math.inf
    with pytest.raises(AssertionError, match="one length"):
        gof.multinomial_goodness_of_fit(probs, counts[:2])


def test_right_and_wrong_densities_are_told_apart() -> None:
    torch.manual_seed(0)
    normal = dist.Normal(1.0, 2.0)
    x = normal.sample((10000,))
    assert gof.auto_goodness_of_fit(x, normal.log_prob(x).exp()) > FALSE_ALARMS
    assert gof.auto_goodness_of_fit(x, dist.Normal(1.0, 2.6).log_prob(x).exp()) < FALSE_ALARMS
    plane = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    x = plane.sample((10000,))
    assert gof.auto_goodness_of_fit(x, plane.log_prob(x).exp()) > FALSE_ALARMS
    assert gof.auto_goodness_of_fit(x, 1.2 * plane.log_prob(x).exp()) < FALSE_ALARMS
    assert gof.unif01_goodness_of_fit(torch.rand(1000)) > FALSE_ALARMS
    assert gof.exp_goodness_of_fit(torch.rand(1000)) < FALSE_ALARMS


def test_p_values_are_uniform() -> None:
    torch.manual_seed(0)
    normal = dist.Normal(0.0, 1.0)
    values = []
    for _ in range(300):
        x = normal.sample((1000,))
        values.append(gof.density_goodness_of_fit(x, normal.log_prob(x).exp()))
    assert scipy.stats.kstest(values, "uniform").pvalue > FALSE_ALARMS


@pytest.mark.parametrize(
    "test, count",
    [
        (gof.unif01_goodness_of_fit, 276),
        (gof.exp_goodness_of_fit, 276),
        (lambda x: gof.density_goodness_of_fit(x, torch.ones_like(x)), 277),
        (lambda x: gof.vector_density_goodness_of_fit(torch.stack([x, x], -1), torch.ones_like(x)), 2000),
    ],
)
def test_too_few_samples_are_no_test(test, count: int) -> None:
    torch.manual_seed(0)
    with pytest.raises(gof.InvalidTest, match="use more samples"):
        test(torch.rand(count))
    assert 0 <= test(torch.rand(count + 1)) <= 1


def test_a_histogram(capsys: pytest.CaptureFixture[str]) -> None:
    gof.unif01_goodness_of_fit(torch.rand(400), plot=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[1].count("-") == gof.HISTOGRAM_WIDTH
    with pytest.raises(AssertionError, match=r"lie in \[0, 1\]"):
        gof.unif01_goodness_of_fit(torch.rand(400) + 1)
    torch.testing.assert_close(gof.volume_of_sphere(3, torch.tensor(2.0)), torch.tensor(32 / 3 * math.pi))


SAMPLERS = [
    ("NaiveDirichlet", NaiveDirichlet(A)),
    ("NaiveBeta", NaiveBeta(A, B)),
    ("RejectionExponential", RejectionExponential(A, B / 3)),
    ("RejectionStandardGamma", RejectionStandardGamma(A)),
    ("RejectionGamma", RejectionGamma(A, B)),
    ("ShapeAugmentedGamma", ShapeAugmentedGamma(B, A)),
    ("boosted three times", ShapeAugmentedGamma(B, A, boost=3)),
    ("ShapeAugmentedDirichlet", ShapeAugmentedDirichlet(A)),
    ("ShapeAugmentedBeta", ShapeAugmentedBeta(A, B)),
]


@pytest.mark.parametrize("name, d", SAMPLERS, ids=[name for name, _ in SAMPLERS])
def test_draws_have_their_density(name: str, d) -> None:
    torch.manual_seed(0)
    x = d.rsample((10000,))
    log_prob = d.log_prob(x)
    if "Dirichlet" in name:
        assert gof.vector_density_goodness_of_fit(x[:, :2], log_prob.exp()) > FALSE_ALARMS
        return
    for column in range(3):
        assert gof.density_goodness_of_fit(x[:, column], log_prob[:, column].exp()) > FALSE_ALARMS


@pytest.mark.parametrize("name, d", SAMPLERS[2:7], ids=[name for name, _ in SAMPLERS[2:7]])
def test_gradients_of_rejection_samplers(name: str, d) -> None:
    """Pathwise gradient and score together: the derivative of the mean by the rate or concentration."""

    def made(p: torch.Tensor):
        makers = {
            "RejectionExponential": lambda: RejectionExponential(p, torch.full_like(p, 0.5)),
            "RejectionStandardGamma": lambda: RejectionStandardGamma(p + 1),
            "RejectionGamma": lambda: RejectionGamma(p + 1, torch.ones_like(p)),
            "ShapeAugmentedGamma": lambda: ShapeAugmentedGamma(p, torch.ones_like(p)),
            "boosted three times": lambda: ShapeAugmentedGamma(p, torch.ones_like(p), boost=3),
        }
        return makers[name]()

    torch.manual_seed(0)
    p = torch.tensor(0.8).expand(200000).clone().requires_grad_()
    d = made(p)
    x = d.rsample()
    score = d.score_parts(x).score_function
    (x.mean() + (x.detach() * score).mean()).backward()
    gradient = p.grad.sum().item()
    expected = -1 / 0.8**2 if name == "RejectionExponential" else 1.0
    assert gradient == pytest.approx(expected, abs=0.03)


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="boost=0"):
        ShapeAugmentedGamma(B, A, boost=0)
    d = ShapeAugmentedGamma(B, A)
    d.rsample()
    with pytest.raises(AssertionError, match="last draws only"):
        d.score_parts(torch.ones(3))
    with pytest.raises(AssertionError, match="at most 1"):
        RejectionExponential(A, A)
    assert RejectionGamma(A, B).expand((2, 3)).rsample().shape == (2, 3)
    assert ShapeAugmentedDirichlet(B).expand((2,)).rsample().shape == (2, 3)
    assert ShapeAugmentedBeta(A, B).expand((2, 3)).rsample().shape == (2, 3)


def test_the_scores_of_the_last_draws_and_their_generator() -> None:
    fn = ShapeAugmentedGamma(B, A)
    draws = [fn.rsample((3,), generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])
    for last, given in zip(fn.score_parts(), fn.score_parts(draws[1]), strict=True):
        assert torch.equal(torch.as_tensor(last), torch.as_tensor(given))
    with pytest.raises(AssertionError, match="the last draws only"):
        fn.score_parts(draws[0])
