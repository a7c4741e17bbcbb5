"""Estimates of the expected information gain against its closed form in a linear model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
from ember.contrib.oed import eig
from ember.contrib.oed.util import linear_model_ground_truth
from ember.optim import Adam

from .linear_gaussian import (
    DESIGNS,
    SDS,
    TRUTH,
    TRUTH_OF_FIRST,
    FixedRatio,
    MarginalGuide,
    PosteriorGuide,
    Ratio,
    model,
    two_groups,
)

pytestmark = pytest.mark.usefixtures("float64")

Estimate = Callable[..., Any]


def by_posterior(steps: int, off: float, draws: int, **kwargs: Any) -> Any:
    guide = PosteriorGuide(off)
    return eig.posterior_eig(
        model(), DESIGNS, "y", "w", 20, steps, guide, adam(), final_num_samples=draws, **kwargs
    )


def by_marginal(steps: int, off: float, draws: int, **kwargs: Any) -> Any:
    guide = MarginalGuide(off)
    return eig.marginal_eig(
        model(), DESIGNS, "y", "w", 20, steps, guide, adam(), final_num_samples=draws, **kwargs
    )


def by_vnmc(steps: int, off: float, draws: int, **kwargs: Any) -> Any:
    final = (draws // 4, 4)
    return eig.vnmc_eig(
        model(),
        DESIGNS,
        "y",
        "w",
        (8, 4),
        steps,
        PosteriorGuide(off),
        adam(),
        final_num_samples=final,
        **kwargs,
    )


def by_ratio(steps: int, off: float, draws: int, **kwargs: Any) -> Any:
    return eig.donsker_varadhan_eig(
        model(), DESIGNS, "y", "w", 100, steps, Ratio(off), adam(), final_num_samples=draws, **kwargs
    )


def by_classifier(steps: int, off: float, draws: int, **kwargs: Any) -> Any:
    return eig.lfire_eig(
        model(),
        DESIGNS,
        "y",
        "w",
        10,
        draws // 20,
        steps,
        FixedRatio(off),
        adam(),
        final_num_samples=20,
        **kwargs,
    )


def adam() -> Adam:
    return Adam({"lr": 0.05})


ESTIMATES: dict[str, Estimate] = {
    "posterior": by_posterior,
    "marginal": by_marginal,
    "vnmc": by_vnmc,
    "donsker_varadhan": by_ratio,
    "lfire": by_classifier,
}


def test_truth_is_the_mutual_information() -> None:
    torch.testing.assert_close(linear_model_ground_truth(model(), DESIGNS, "y", "w"), TRUTH)
    torch.testing.assert_close(linear_model_ground_truth(two_groups(), DESIGNS, "y", ["w1"]), TRUTH_OF_FIRST)
    entropy = linear_model_ground_truth(model(), DESIGNS, "y", "w", eig=False)
    prior = torch.distributions.Normal(0.0, SDS).entropy().sum()
    torch.testing.assert_close(prior - entropy, TRUTH)


@pytest.mark.parametrize("name", ESTIMATES)
def test_exact_guides_and_ratios_give_the_truth(name: str) -> None:
    torch.testing.assert_close(ESTIMATES[name](0, 1.0, 40_000), TRUTH, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("name", "off", "side"),
    [("posterior", 2.0, -1), ("marginal", 2.0, 1), ("vnmc", 3.0, 1), ("donsker_varadhan", 0.5, -1)],
)
def test_others_give_bounds(name: str, off: float, side: int) -> None:
    gap = ESTIMATES[name](0, off, 40_000).detach() - TRUTH
    assert ((side * gap).clamp(min=-0.01) == side * gap).all() and side * gap[0] > 0.05


@pytest.mark.parametrize("name", ESTIMATES)
def test_training_finds_the_truth(name: str) -> None:
    history, found = ESTIMATES[name](
        150, 0.5 if name in ("lfire", "donsker_varadhan") else 2.0, 8000, return_history=True
    )
    assert history.shape[0] == 150 and history.shape[-1] == 2
    torch.testing.assert_close(found, TRUTH, atol=0.1, rtol=0)


def test_nested_monte_carlo() -> None:
    found = eig.nmc_eig(model(), DESIGNS, "y", "w", N=4000, M=1000)
    torch.testing.assert_close(found, TRUTH, atol=0.06, rtol=0)
    coarse = eig.nmc_eig(model(), DESIGNS, ["y"], ["w"], N=20_000, M=3)
    assert coarse[0] > TRUTH[0] + 0.05 and coarse[1] > TRUTH[1] - 0.01


@pytest.mark.parametrize("independent", [False, True])
def test_nested_monte_carlo_averages_over_other_sites(independent: bool) -> None:
    found = eig.nmc_eig(
        two_groups(), DESIGNS, "y", "w1", N=2000, M=500, M_prime=500, independent_priors=independent
    )
    torch.testing.assert_close(found, TRUTH_OF_FIRST, atol=0.05, rtol=0)


@pytest.mark.parametrize("history", [False, True])
def test_marginal_and_likelihood(history: bool) -> None:
    def found(steps: int, off: float) -> Tensor:
        given_first = MarginalGuide(off, of_second_given_first=True)
        result = eig.marginal_likelihood_eig(
            two_groups(), DESIGNS, "y", "w1", 20, steps, MarginalGuide(off), given_first, adam(), history,
            final_num_samples=20_000,
        )  # fmt: skip
        return result[1] if history else result

    torch.testing.assert_close(found(0, 1.0), TRUTH_OF_FIRST, atol=0.02, rtol=0)
    torch.testing.assert_close(found(100, 2.0), TRUTH_OF_FIRST, atol=0.1, rtol=0)


def test_posterior_entropy_in_closed_form() -> None:
    guide = PosteriorGuide()
    ape = eig.posterior_eig(model(), DESIGNS, "y", "w", 5, 0, guide, adam(), eig=False, analytic_entropy=True)
    torch.testing.assert_close(ape, linear_model_ground_truth(model(), DESIGNS, "y", "w", eig=False))


def test_the_prior_entropy_may_be_estimated() -> None:
    exact = by_posterior(0, 1.0, 1000)
    ember.set_rng_seed(0)
    options = {"mean_field": False, "num_prior_samples": 20_000}
    by_draws = by_posterior(0, 1.0, 1000, prior_entropy_kwargs=options)
    ember.set_rng_seed(0)
    torch.testing.assert_close(by_draws, by_posterior(0, 1.0, 1000), atol=0.03, rtol=0)
    assert not torch.equal(by_draws, exact)
    torch.testing.assert_close(
        eig.monte_carlo_entropy(model(), DESIGNS, "w", 20_000),
        torch.distributions.Normal(0.0, SDS).entropy().sum().expand(2),
        atol=0.03,
        rtol=0,
    )


def test_a_model_without_closed_entropies_falls_back() -> None:
    class Unknown(ember.distributions.Normal):
        def entropy(self) -> Tensor:
            raise NotImplementedError

    def unknown(design: Tensor) -> None:
        with ember.plate_stack("designs", design.shape[:-1]):
            w = ember.sample("w", Unknown(0.0, 1.0))
            ember.sample("y", ember.distributions.Normal(design[..., 0] * w, 1.0))

    def guide(y_dict: Any, design: Tensor, observed: Any, targets: Any) -> None:
        scale = (1 + design[..., 0] ** 2).rsqrt()
        ember.sample("w", ember.distributions.Normal(design[..., 0] * y_dict["y"] * scale**2, scale))

    designs = torch.tensor([[0.5], [2.0]])
    found = eig.posterior_eig(
        unknown, designs, "y", "w", 1, 0, guide, adam(), final_num_samples=20_000,
        prior_entropy_kwargs={"num_prior_samples": 20_000},
    )  # fmt: skip
    torch.testing.assert_close(found, 0.5 * (1 + designs[:, 0] ** 2).log(), atol=0.03, rtol=0)


@pytest.mark.parametrize("name", ["posterior", "donsker_varadhan"])
def test_captured_training_is_eager_training(name: str) -> None:
    def trained(mode: bool) -> Any:
        ember.clear_param_store()
        ember.set_rng_seed(1)
        ember.settings.set(compile=mode)
        try:
            return ESTIMATES[name](20, 0.7, 100, return_history=True)
        finally:
            ember.settings.set(compile=None)

    for eager, captured in zip(trained(False), trained(True), strict=True):
        torch.testing.assert_close(captured, eager)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"no site 'z', an observation or a target; it has \['w', 'y'\]"):
        eig.nmc_eig(model(), DESIGNS, "z", "w")
    with pytest.raises(ValueError, match="give target_labels"):
        eig.nmc_eig(model(), DESIGNS, "y", M_prime=2)
    with pytest.raises(TypeError, match="no further arguments by position"):
        eig.posterior_eig(
            model(), DESIGNS, "y", "w", 1, 0, PosteriorGuide(), adam(), False, None, None, True, {}, 1
        )
    with pytest.raises(ValueError, match=r"is a pair \(N, M\), got 4"):
        eig.vnmc_eig(model(), DESIGNS, "y", "w", 4, 0, PosteriorGuide(), None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="optim must be an optimizer"):
        eig.posterior_eig(model(), DESIGNS, "y", "w", 1, 1, PosteriorGuide(), None)
    with pytest.raises(TypeError, match="interpreted as an integer"):
        eig.posterior_eig(model(), DESIGNS, "y", "w", 1, 1.5, PosteriorGuide(), adam())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="analytical"):
        eig.posterior_eig(model(), DESIGNS, "y", "w", 1, 0, PosteriorGuide(), adam(), analytical=True)
