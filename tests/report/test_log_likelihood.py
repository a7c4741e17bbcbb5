"""Pointwise log likelihoods against the density written out."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import config_enumerate
from ember.report import log_likelihood
from tests.report.programs import HIDDEN, Y, draws, model


def test_is_the_unscaled_density_of_each_entry() -> None:
    posterior = draws()
    found = log_likelihood(model, posterior, Y)
    loc = posterior["mu"][:, None, None] + posterior["b"][..., 0]
    expected = torch.where(HIDDEN, dist.Normal(loc, 2.0).log_prob(Y), torch.tensor(0.0))
    assert list(found) == ["y"]
    torch.testing.assert_close(found["y"], expected)


def test_leaves_the_random_stream_and_outer_handlers_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with ember.poutine.trace() as outer:
        log_likelihood(model, draws(), Y)
    assert torch.equal(before, torch.get_rng_state())
    assert not list(outer.trace.samples())


def test_extra_draws_of_deterministic_sites_are_no_data() -> None:
    posterior = draws() | {"twice": torch.zeros(6)}
    torch.testing.assert_close(log_likelihood(model, posterior, Y), log_likelihood(model, draws(), Y))


@pytest.mark.parametrize(
    ("posterior", "words"),
    [
        ({"mu": torch.zeros(4)}, r"no draws of the latent sites \['b'\]"),
        (draws() | {"mu": torch.zeros(4)}, "same number of draws"),
        ({}, "same number of draws"),
    ],
)
def test_says_what_is_missing(posterior: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        log_likelihood(model, posterior, Y)


def test_needs_observations() -> None:
    def prior() -> None:
        ember.sample("mu", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="observed sites"):
        log_likelihood(prior, {"mu": torch.zeros(2)})


def test_names_discrete_sites_that_were_summed_out() -> None:
    @config_enumerate
    def mixture(y: torch.Tensor) -> None:
        with ember.plate("rows", len(y)):
            z = ember.sample("z", dist.Bernoulli(0.5))
            ember.sample("y", dist.Normal(z, 1.0), obs=y)

    with pytest.raises(ValueError, match=r"\['z'\].*infer_discrete"):
        log_likelihood(mixture, {"other": torch.zeros(2)}, torch.zeros(3))
