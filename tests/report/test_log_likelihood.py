"""Pointwise log likelihoods against the density written out."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
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
        ({}, r"no draws of the latent sites \['mu', 'b'\]"),
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


def pairs(y: torch.Tensor, x: torch.Tensor) -> None:
    with ember.plate("rows", len(y)):
        z = ember.sample("z", dist.Bernoulli(0.3))
        ember.sample("y", dist.Normal(z, 1.0), obs=y)
        ember.sample("x", dist.Normal(2.0 * z, 0.5), obs=x)
    ember.sample("free", dist.Normal(0.0, 1.0), obs=torch.tensor(0.5))


def test_sums_over_discrete_sites_without_draws() -> None:
    torch.manual_seed(0)
    y, x = torch.randn(2, 5)
    found = log_likelihood(pairs, {"other": torch.zeros(2)}, y, x)
    terms = [
        dist.Bernoulli(0.3).log_prob(z)
        + dist.Normal(z, 1.0).log_prob(y)
        + dist.Normal(2.0 * z, 0.5).log_prob(x)
        for z in torch.tensor([0.0, 1.0])
    ]
    torch.testing.assert_close(found["y+x"], torch.logaddexp(*terms).expand(2, 5))
    torch.testing.assert_close(found["free"], dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.5)).expand(2))


def test_the_same_by_native_code() -> None:
    posterior = {name: value.repeat(400, *[1] * (value.dim() - 1)) for name, value in draws().items()}
    few = log_likelihood(model, draws(), Y)["y"]
    torch.testing.assert_close(log_likelihood(model, posterior, Y)["y"], few.repeat(400, 1, 1))


def test_rows_that_depend_on_each_other_have_no_density_of_their_own() -> None:
    def shared(y: torch.Tensor) -> None:
        z = ember.sample("z", dist.Bernoulli(0.5))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(z, 1.0), obs=y)

    with pytest.raises(ValueError, match=r"\['y'\] depend on each other through \['z'\].*\n.*joint_draws"):
        log_likelihood(shared, {}, torch.zeros(3))
    drawn = log_likelihood(shared, {"z": torch.tensor([0.0, 1.0])}, torch.zeros(3))["y"]
    torch.testing.assert_close(drawn, dist.Normal(torch.tensor([[0.0], [1.0]]), 1.0).log_prob(torch.zeros(3)))


def test_given_sites_that_depend_on_a_sum_are_an_error() -> None:
    def local(y: torch.Tensor) -> None:
        with ember.plate("rows", len(y)):
            z = ember.sample("z", dist.Bernoulli(0.5))
            t = ember.sample("t", dist.Normal(z, 1.0))
            ember.sample("y", dist.Normal(t + z, 1.0), obs=y)

    with pytest.raises(ValueError, match="'t' depends on a site that is summed out"):
        log_likelihood(local, {"t": torch.zeros(4, 3)}, torch.zeros(3))


def test_plates_that_take_a_part_take_all_rows() -> None:
    def batched(y: torch.Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(y), subsample_size=2) as rows:
            ember.sample("y", dist.Normal(mu, 1.0), obs=y[rows])

    found = log_likelihood(batched, {"mu": torch.zeros(3)}, torch.arange(4.0))["y"]
    torch.testing.assert_close(found, dist.Normal(0.0, 1.0).log_prob(torch.arange(4.0)).expand(3, 4))


def test_batch_dims_need_no_plates_where_nothing_is_summed_out() -> None:
    kinds = torch.tensor([0, 1, 2, 1])

    def by_kind(y: torch.Tensor) -> None:
        level = ember.sample("level", dist.Normal(0.0, 1.0).expand([3]))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Normal(level[kinds], 1.0), obs=y)

    y, levels = torch.arange(4.0), torch.randn(5, 3)
    found = log_likelihood(by_kind, {"level": levels}, y)
    assert torch.allclose(found["y"], dist.Normal(levels[:, kinds], 1.0).log_prob(y))
