"""Probabilities of discrete sites against closed forms: mixtures, forward and backward passes, draws of a guide."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from ember.infer.autoguide import AutoDelta, AutoNormal

X = torch.tensor([-2.5, -1.0, 0.1, 1.7, 3.0], dtype=torch.float64)
WEIGHTS = torch.tensor([[0.3, 0.7], [0.6, 0.4]], dtype=torch.float64)
LOCS = torch.tensor([[-2.0, 2.0], [-1.0, 1.5]], dtype=torch.float64)
DRAWS = {"w": WEIGHTS, "locs": LOCS}


def mixture(x: Tensor) -> None:
    w = ember.sample("w", dist.Dirichlet(torch.ones(2, dtype=torch.float64)))
    locs = ember.sample("locs", dist.Normal(torch.zeros(2, dtype=torch.float64), 3.0).to_event(1))
    with ember.plate("rows", len(x)):
        z = ember.sample("z", dist.Categorical(w))
        ember.sample("x", dist.Normal(locs[z], 1.0), obs=x)


def exact(x: Tensor, w: Tensor = WEIGHTS, locs: Tensor = LOCS) -> Tensor:
    """Mean over draws of the probabilities of the two components."""
    joint = w.log()[:, None] + dist.Normal(locs[:, None], 1.0).log_prob(x[:, None])
    return joint.softmax(-1).mean(0)


def test_mixture_given_draws() -> None:
    found = ember.assign(mixture, DRAWS, "z", X)
    torch.testing.assert_close(found.probs, exact(X))
    assert torch.equal(found.values, exact(X).argmax(-1))
    torch.testing.assert_close(found.certainty, exact(X).amax(-1))
    assert str(found).startswith("z: 0 (")


def test_many_draws_run_in_native_code_and_give_the_same() -> None:
    many = {name: value.repeat(1000, *[1] * (value.dim() - 1)) for name, value in DRAWS.items()}
    torch.testing.assert_close(ember.assign(mixture, many, "z", X, num_samples=2000).probs, exact(X))


def test_marginalised_mixture() -> None:
    def summed(x: Tensor) -> None:
        w = ember.sample("w", dist.Dirichlet(torch.ones(2, dtype=torch.float64)))
        locs = ember.sample("locs", dist.Normal(torch.zeros(2, dtype=torch.float64), 3.0).to_event(1))
        with ember.plate("rows", len(x)):
            components = dist.Normal(locs.expand(len(x), 2), 1.0)
            ember.sample("x", dist.MixtureSameFamily(dist.Categorical(w), components), obs=x)

    torch.testing.assert_close(ember.assign(summed, DRAWS, "x", X).probs, exact(X))


def test_svi_and_a_model_with_its_guide() -> None:
    torch.manual_seed(0)
    guide = AutoDelta(poutine.block(mixture, hide=["z"]))
    loss = TraceEnum_ELBO(strict_enumeration_warning=False)
    svi = SVI(
        ember.infer.config_enumerate(mixture), guide, ember.optim.Adam({"lr": 0.05}), loss, param_store="own"
    )
    svi.run(50, X, progress=False)
    point = {name: value[None] for name, value in guide.median(X).items()}
    expected = exact(X, point["w"].detach(), point["locs"].detach())
    torch.testing.assert_close(ember.assign(svi, "z", X).probs, expected)
    torch.testing.assert_close(ember.assign(mixture, guide, "z", X, num_samples=3).probs, expected)


def test_fit_and_other_rows() -> None:
    torch.manual_seed(0)
    data = torch.cat([torch.randn(30) - 3, torch.randn(30) + 3])

    def ordered(x: Tensor) -> None:
        low = ember.sample("low", dist.Normal(-3.0, 0.5))
        high = ember.sample("high", dist.Normal(3.0, 0.5))
        with ember.plate("rows", len(x)):
            z = ember.sample("z", dist.Bernoulli(0.5))
            ember.sample("x", dist.Normal(torch.where(z == 1, high, low), 1.0), obs=x)

    fit = ember.fit(ordered, data, seed=0, draws=200, progress=False)
    found = ember.assign(fit, "z")
    assert found.probs.shape == (60, 2)
    assert found.values.tolist() == [0.0] * 30 + [1.0] * 30
    apart = torch.stack([fit.draws["low"], fit.draws["high"]], -1)[:, None]
    new = torch.tensor([0.4, -0.2])
    expected = dist.Normal(apart, 1.0).log_prob(new[:, None]).softmax(-1).mean(0)
    torch.testing.assert_close(ember.assign(fit, "z", new).probs, expected, rtol=1e-4, atol=1e-5)


def chain(y: Tensor) -> None:
    turn = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    state: Any = torch.tensor(0)
    for t in ember.markov(range(len(y))):
        state = ember.sample(f"s_{t}", dist.Categorical(turn[state]))
        ember.sample(f"y_{t}", dist.Normal(2.0 * state, 1.0), obs=y[t])


def smoothed(y: Tensor) -> Tensor:
    """Forward and backward messages, by hand."""
    turn = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    seen = dist.Normal(torch.tensor([0.0, 2.0], dtype=torch.float64), 1.0).log_prob(y[:, None]).exp()
    forward = [turn[0] * seen[0]]
    for each in seen[1:]:
        forward.append((forward[-1] @ turn) * each)
    backward = [torch.ones(2, dtype=torch.float64)]
    for each in seen.flip(0)[:-1]:
        backward.append(turn @ (each * backward[-1]))
    joint = torch.stack(forward) * torch.stack(backward).flip(0)
    return joint / joint.sum(-1, keepdim=True)


def test_states_of_a_chain_are_smoothed() -> None:
    y = torch.tensor([0.2, 1.9, 2.4, 1.0, -0.5, 0.7], dtype=torch.float64)
    names = [f"s_{t}" for t in range(6)]
    found = ember.assign(chain, lambda y: None, names, y)
    torch.testing.assert_close(found.probs, smoothed(y))
    torch.testing.assert_close(ember.assign(chain, {}, "s_3", y).probs, smoothed(y)[3])


def test_sites_of_the_guide_have_its_probabilities() -> None:
    own = torch.tensor([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0], [0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)

    def guide(x: Tensor) -> None:
        with ember.plate("rows", len(x)):
            ember.sample("z", dist.Categorical(own))

    torch.testing.assert_close(ember.assign(mixture, guide, "z", X, num_samples=3).probs, own)


def test_draws_of_the_site_itself_are_counted() -> None:
    drawn = DRAWS | {"z": torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0]])}
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    torch.testing.assert_close(ember.assign(mixture, drawn, "z", X).probs, expected)


def test_plates_that_take_a_part_take_all_rows() -> None:
    def batched(x: Tensor) -> None:
        with ember.plate("rows", len(x), subsample_size=2) as rows:
            z = ember.sample("z", dist.OneHotCategorical(torch.tensor([0.5, 0.5], dtype=torch.float64)))
            ember.sample("x", dist.Normal(4.0 * z[..., 1] - 2.0, 1.0), obs=x[rows])

    found = ember.assign(batched, lambda x: None, "z", X)
    torch.testing.assert_close(found.probs[:, 1], torch.sigmoid(4.0 * X))
    assert found.values.shape == (5, 2)


def test_sites_in_nested_plates_and_masked_rows() -> None:
    here = torch.tensor([True, False])

    def groups(x: Tensor) -> None:
        with ember.plate("groups", 3, dim=-2):
            g = ember.sample("g", dist.Bernoulli(0.5))
            with ember.plate("rows", 2, dim=-1), poutine.mask(mask=here):
                z = ember.sample("z", dist.Bernoulli(0.2 + 0.6 * g))
                ember.sample("x", dist.Normal(z, 0.5), obs=x)

    x = torch.tensor([[0.0, 5.0], [1.0, 5.0], [0.5, 5.0]])
    of_g = ember.assign(groups, {}, "g", x).probs
    # The seen row of each group: p(x | g) = sum over z.
    seen = dist.Normal(torch.tensor([0.0, 1.0]), 0.5).log_prob(x[:, :1]).exp()
    of_z = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    joint = seen @ of_z.T
    torch.testing.assert_close(of_g, (joint / joint.sum(-1, keepdim=True))[:, None])
    assert ember.assign(groups, {}, "z", x).probs.shape == (3, 2, 2)


def test_torch_stream_is_used_by_the_guide_alone() -> None:
    before = torch.get_rng_state()
    ember.assign(mixture, DRAWS, "z", X)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: ember.assign(mixture, DRAWS, "k", X),
            r"no site 'k'; sites that can be assigned are \['z'\]",
        ),
        (
            lambda: ember.assign(mixture, DRAWS, "locs", X),
            r"'locs' .*no latent site with finitely many values",
        ),
        (lambda: ember.assign(mixture, DRAWS, X), "name of a site after what was fitted, got Tensor"),
        (lambda: ember.assign(mixture, X, "z"), "does not know what was fitted, from .function, Tensor"),
        (
            lambda: ember.assign(mixture, {"w": WEIGHTS}, "z", X),
            "no draws of the latent sites .'locs'., which cannot be summed",
        ),
        (lambda: ember.assign(mixture, {"w": WEIGHTS, "locs": LOCS[:1]}, "z", X), "same number of draws"),
    ],
)
def test_says_what_is_wrong(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_average_over_an_autoguide_keeps_probabilities_whole() -> None:
    torch.manual_seed(1)
    guide = AutoNormal(poutine.block(mixture, hide=["z"]))
    svi = SVI(mixture, guide, ember.optim.Adam({"lr": 0.05}), Trace_ELBO(), param_store="own")
    guide(X)
    found = ember.assign(svi, "z", X, num_samples=20)
    torch.testing.assert_close(found.probs.sum(-1), torch.ones(5, dtype=torch.float64))
    assert math.isfinite(float(found.certainty.mean()))


# ---- sites of many entries ------------------------------------------------------------------------------------------

STAYS, LEAVES = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[0.7, 0.3], [0.4, 0.6]])
SERIES = torch.tensor([0.1, -0.2, 2.1, 1.9, 2.2, 0.3])


def states(chances: Tensor, y: Tensor | None, series: Tensor) -> None:
    def step(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        z = ember.sample("z", dist.Categorical(chances[z]))
        if y is not None:
            ember.sample("y", dist.Normal(2.0 * z, 1.0), obs=x)
        return z, z

    ember.scan(step, torch.tensor(0), series)


def chain_in_a_scan(series: Tensor) -> None:
    states(STAYS, series, series)


def guide_in_a_scan(series: Tensor) -> None:
    states(LEAVES, None, series)


@pytest.mark.parametrize("steps", [6, 12])
def test_states_of_a_scan_that_a_guide_draws(steps: int) -> None:
    ember.set_rng_seed(0)
    series = SERIES.repeat(2)[:steps]
    found = ember.assign(chain_in_a_scan, guide_in_a_scan, "z", series, num_samples=3000)
    wanted = [torch.tensor([1.0, 0.0])]
    for _ in range(steps):
        wanted.append(wanted[-1] @ LEAVES)
    torch.testing.assert_close(found.probs, torch.stack(wanted[1:]), atol=0.01, rtol=0)
    assert found.support.tolist() == [0, 1] and found.values.shape == (steps,)


def test_states_of_a_scan_in_draws() -> None:
    draws = {"z": torch.tensor([[0, 0, 1, 1, 1, 0]] * 3 + [[1] * 6])}
    found = ember.assign(chain_in_a_scan, draws, "z", SERIES)
    assert found.probs[:, 1].tolist() == [0.25, 0.25, 1.0, 1.0, 1.0, 0.25]


def test_a_vector_of_discrete_variables() -> None:
    def model(y: Tensor) -> None:
        with ember.plate("rows", 2):
            k = ember.sample("k", dist.Bernoulli(torch.full((2, 3), 0.5)).to_event(1))
            ember.sample("y", dist.Normal(k, 1.0).to_event(1), obs=y)

    def guide(y: Tensor) -> None:
        with ember.plate("rows", 2):
            ember.sample("k", dist.Bernoulli(torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.6, 0.8]])).to_event(1))

    y = torch.zeros(2, 3)
    probs = ember.assign(model, guide, "k", y).probs
    assert probs.shape == (2, 3, 2)
    torch.testing.assert_close(probs[..., 1], torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.6, 0.8]]))


def test_a_path_that_nobody_draws_is_refused_with_a_way_out() -> None:
    with pytest.raises(
        ValueError, match=r"'z' holds \(6,\) discrete variables(.|\n)*ember.markov(.|\n)*DiscreteHMM"
    ):
        ember.assign(chain_in_a_scan, lambda series: None, "z", SERIES)
