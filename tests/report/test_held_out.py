"""The log predictive density of data that were held out, against what is known exactly."""

from __future__ import annotations

import math
import sys
import warnings

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDelta, AutoNormal
from ember.report import held_out
from tests.report.test_elpd import (
    NOISE,
    PRIOR_SD,
    D,
    conjugate,
    data,
    exact_draws,
    normal_guide,
    posterior_of,
)

NEW = torch.tensor([0.0, 1.0, -2.5, 4.0], dtype=D)


def exact(new: Tensor, y: Tensor) -> Tensor:
    loc, scale = posterior_of(y)
    return dist.Normal(loc, (scale**2 + NOISE**2).sqrt()).log_prob(new)


def test_exact_of_a_conjugate_model() -> None:
    y = data()
    found = held_out(conjugate, exact_draws(y, 20_000), NEW, num_samples=20_000)
    torch.testing.assert_close(found.pointwise, exact(NEW, y), atol=0.02, rtol=0)
    assert found.kind == "held_out" and found.p is None and not found.warnings
    assert found.elpd == pytest.approx(float(found.pointwise.sum())) and found.mean == found.elpd / 4
    assert found.se == pytest.approx(float(2 * found.pointwise.std(unbiased=False)))
    assert str(found) == f"elpd_held_out {found.elpd:.1f} ± {found.se:.1f}, 4 observations"


def test_the_monte_carlo_error_is_that_of_repetitions() -> None:
    y = data()
    mean, sd = posterior_of(y)
    sums, errors = [], []
    for seed in range(120):
        draws = mean + sd * torch.randn(60, dtype=D, generator=torch.Generator().manual_seed(seed))
        found = held_out(conjugate, {"mu": draws}, NEW)
        sums.append(found.elpd)
        errors.append(found.mcse)
    assert sum(errors) / 120 == pytest.approx(torch.tensor(sums).std().item(), rel=0.2)


def test_too_few_draws_are_told() -> None:
    draws = {"mu": torch.linspace(-8.0, 8.0, 5, dtype=D)}
    with pytest.warns(
        UserWarning, match="ember.held_out: the Monte Carlo error of the sum is [0-9.]+: give more"
    ):
        found = held_out(conjugate, draws, NEW)
    assert found.warnings and found.mcse > 0.25 * found.se


def test_what_is_impossible_is_told() -> None:
    def model(y: Tensor) -> None:
        top = ember.sample("top", dist.Uniform(0.0, 4.0))
        with ember.plate("rows", len(y)):
            ember.sample("y", dist.Uniform(0.0, top, validate_args=False), obs=y)

    draws = {"top": torch.full((50,), 2.0)}
    with pytest.warns(UserWarning, match="1 of 2 observations are impossible under all draws"):
        assert held_out(model, draws, torch.tensor([1.0, 3.0])).elpd == -math.inf


def test_memory_does_not_grow_with_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether draws are taken together or one by one, the numbers are the same."""
    draws = exact_draws(data(), 333)
    whole = held_out(conjugate, draws, NEW)
    monkeypatch.setattr(sys.modules[held_out.__module__], "_NUMBERS_AT_ONCE", 8)
    apart = held_out(conjugate, draws, NEW)
    torch.testing.assert_close(apart.pointwise, whole.pointwise, rtol=1e-12, atol=0)
    assert apart.mcse == pytest.approx(whole.mcse)


@pytest.mark.parametrize("number", [1, 7, 20, 41])
def test_any_number_of_draws(number: int) -> None:
    draws = exact_draws(data(), number)
    by_hand = dist.Normal(draws["mu"][:, None], NOISE).log_prob(NEW).logsumexp(0) - math.log(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few draws
        torch.testing.assert_close(held_out(conjugate, draws, NEW).pointwise, by_hand)


# ---- what was fitted ------------------------------------------------------------------------------------------------


def test_a_fit() -> None:
    y = data().float()
    fit = ember.fit(conjugate, y, seed=0, progress=False, budget=120)
    found = held_out(fit, NEW.float())
    torch.testing.assert_close(found.pointwise, exact(NEW, y.double()), atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="held_out needs the arguments of the model with the new data"):
        held_out(fit)


def test_draws_of_a_guide_are_corrected_by_the_data_of_the_fit() -> None:
    y = data()
    mean, sd = posterior_of(y)
    guide = normal_guide(float(mean + 0.5 * sd), float(1.3 * sd))
    corrected = held_out(conjugate, guide, NEW, fitted_to=(y,), num_samples=5000)
    torch.testing.assert_close(corrected.pointwise, exact(NEW, y), atol=0.03, rtol=0)
    own = held_out(conjugate, guide, NEW, num_samples=5000)
    guides = dist.Normal(mean + 0.5 * sd, ((1.3 * sd) ** 2 + NOISE**2).sqrt()).log_prob(NEW)
    torch.testing.assert_close(own.pointwise, guides, atol=0.03, rtol=0)
    assert "fitted_to=... has them corrected" in own.warnings[0] and not corrected.warnings


def test_an_svi_and_a_guide_that_is_no_match() -> None:
    y = data().float()
    guide = AutoNormal(conjugate)
    svi = SVI(conjugate, guide, ember.optim.Adam({"lr": 0.05}), Trace_ELBO(), param_store="own")
    svi.run(800, y, progress=False)
    found = held_out(svi, NEW.float(), fitted_to=(y,))
    torch.testing.assert_close(found.pointwise, exact(NEW, y.double()), atol=0.05, rtol=0)
    point = SVI(
        conjugate, AutoDelta(conjugate), ember.optim.Adam({"lr": 0.05}), Trace_ELBO(), param_store="own"
    )
    point.run(400, y, progress=False)
    with pytest.warns(
        UserWarning, match="the guide stands for the posterior as it is: the guide is one point"
    ):
        held_out(point, NEW.float(), fitted_to=(y,))


# ---- latent variables of rows ---------------------------------------------------------------------------------------


def overdispersed(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(torch.zeros((), dtype=D), PRIOR_SD))
    with ember.plate("rows", len(y)):
        own = ember.sample("own", dist.Normal(mu, 1.2))
        ember.sample("y", dist.Normal(own, 0.9), obs=y)  # as conjugate: 1.2 and 0.9 add up to 1.5


@pytest.mark.parametrize("rows", [20, 4], ids=["as many rows as in the fit", "fewer"])
def test_latent_variables_of_rows_are_drawn_anew(rows: int) -> None:
    """Those of the fit belong to its own rows, whatever their number is."""
    y, new = data(), torch.cat([NEW] * 5)[:rows]
    draws = exact_draws(y, 20_000)
    draws["own"] = draws["mu"][:, None].expand(-1, 20) + 100.0  # would be far off
    found = held_out(overdispersed, draws, new, num_samples=20_000)
    torch.testing.assert_close(found.pointwise, exact(new, y), atol=0.05, rtol=0)


def test_other_data_of_the_same_rows() -> None:
    draws = exact_draws(data(), 500)
    draws["own"] = draws["mu"][:, None] + torch.randn(500, 4, dtype=D)
    found = held_out(overdispersed, draws, NEW, new=())
    wanted = dist.Normal(draws["own"], 0.9).log_prob(NEW).logsumexp(0) - math.log(500)
    torch.testing.assert_close(found.pointwise, wanted)


def panel(firm: Tensor, y: Tensor, firms: int = 3) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    with ember.plate("firms", firms):
        level = ember.sample("level", dist.Normal(mu, 2.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(level[firm], 1.0), obs=y)


def test_groups_are_those_of_the_fit_or_new_ones() -> None:
    firm, y = torch.tensor([0, 2]), torch.tensor([1.0, -1.0])
    draws = {"mu": torch.full((20_000,), 0.5), "level": torch.tensor([1.0, 0.0, -1.0]).expand(20_000, 3)}
    known = held_out(panel, draws, firm, y)
    torch.testing.assert_close(known.pointwise.float(), dist.Normal(0.0, 1.0).log_prob(torch.zeros(2)))
    others = held_out(panel, draws, firm, y, new="firms", num_samples=20_000)
    wanted = dist.Normal(0.5, 5**0.5).log_prob(y)
    torch.testing.assert_close(others.pointwise.float(), wanted, atol=0.03, rtol=0)
    torch.testing.assert_close(
        held_out(panel, draws, firm, y, new=["level"], num_samples=20_000).pointwise.float(),
        wanted,
        atol=0.03,
        rtol=0,
    )
    more = r"'level' has the shape \(5,\) at the new arguments and \(3,\) in the fit \(plates: 'firms'\)(.|\n)*new=\.\.\."
    with pytest.raises(ValueError, match=more):
        held_out(panel, draws, firm, y, firms=5)
    with pytest.raises(
        ValueError, match=r"names \['farms'\]; plates and latent sites of the model are \['firms', 'level'"
    ):
        held_out(panel, draws, firm, y, new="farms")


def test_a_masked_part_is_held_out() -> None:
    def model(y: Tensor, seen: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(torch.zeros((), dtype=D), PRIOR_SD))
        with ember.plate("rows", len(y)), poutine.mask(mask=seen):
            ember.sample("y", dist.Normal(mu, NOISE), obs=y)

    y = torch.cat([data(), NEW])
    draws = exact_draws(data(), 20_000)
    found = held_out(model, draws, y, torch.arange(24) >= 20, num_samples=20_000)
    torch.testing.assert_close(found.pointwise, exact(NEW, data()), atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="a mask hides all of them"):
        held_out(model, draws, y, torch.zeros(24, dtype=torch.bool))


# ---- discrete sites -------------------------------------------------------------------------------------------------


def mixture(x: Tensor) -> None:
    share = ember.sample("share", dist.Beta(2.0, 2.0))
    with ember.plate("rows", len(x)):
        kind = ember.sample("kind", dist.Bernoulli(share))
        ember.sample("x", dist.Normal(4.0 * kind, 1.0), obs=x)


@pytest.mark.parametrize("given", [False, True], ids=["summed out in the fit", "drawn in the fit"])
def test_clusters_of_new_rows_are_summed_out(given: bool) -> None:
    x, share = torch.tensor([0.0, 2.0, 5.0]), torch.tensor([0.3, 0.6])
    draws = {"share": share} | ({"kind": torch.ones(2, 3)} if given else {})
    found = held_out(mixture, draws, x)
    densities = share[:, None] * dist.Normal(4.0, 1.0).log_prob(x).exp()
    densities = densities + (1 - share[:, None]) * dist.Normal(0.0, 1.0).log_prob(x).exp()
    torch.testing.assert_close(found.pointwise.float(), densities.mean(0).log())


def switch(x: Tensor) -> None:
    k = ember.sample("k", dist.Bernoulli(0.5))
    with ember.plate("rows", len(x)):
        ember.sample("x", dist.Normal(1.0 * k, 1.0), obs=x)


def test_a_discrete_site_of_all_data_keeps_what_the_fit_knows() -> None:
    seen, new = torch.tensor([1.1, 0.4]), torch.tensor([0.0, 1.0])

    def guide(x: Tensor) -> None:
        pass

    with pytest.raises(
        ValueError, match=r"\['k'\] were summed out in the fit(.|\n)*new=\(\) if their values"
    ):
        held_out(switch, guide, new, fitted_to=(seen,))
    ember.set_rng_seed(0)
    found = held_out(switch, guide, new, fitted_to=(seen,), new=(), num_samples=1500)
    both = torch.stack([dist.Normal(k, 1.0).log_prob(seen).sum() for k in (0.0, 1.0)]).softmax(0)
    densities = torch.stack([dist.Normal(k, 1.0).log_prob(new).exp() for k in (0.0, 1.0)])
    torch.testing.assert_close(found.pointwise.float(), (both @ densities).log(), atol=0.02, rtol=0)
    with pytest.raises(ValueError, match=r"\['k'\] depend on the data of the fit: fitted_to"):
        held_out(switch, guide, new, new=())


def test_several_sites_are_named() -> None:
    def model(x: Tensor, y: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(x)):
            ember.sample("x", dist.Normal(mu, 1.0), obs=x)
            ember.sample("y", dist.Normal(mu, 2.0), obs=y)

    draws = {"mu": torch.zeros(30)}
    with pytest.raises(ValueError, match=r"held_out finds the observed sites \['x', 'y'\]: say which"):
        held_out(model, draws, torch.zeros(2), torch.zeros(2))
    one = held_out(model, draws, torch.zeros(2), torch.zeros(2), site="y")
    torch.testing.assert_close(one.pointwise.float(), dist.Normal(0.0, 2.0).log_prob(torch.zeros(2)))
    assert len(held_out(model, draws, torch.zeros(2), torch.zeros(2), site=["x", "y"]).pointwise) == 4


def test_comparison() -> None:
    y = data()
    near, far = exact_draws(y), {"mu": exact_draws(y)["mu"] + 3.0}
    scores = {"far": held_out(conjugate, far, NEW), "near": held_out(conjugate, near, NEW)}
    table = ember.compare(scores)
    assert table.names == ("near", "far") and list(table.columns) == ["elpd", "se", "diff", "dse"]
    gap = scores["near"].pointwise - scores["far"].pointwise
    assert table["far"]["diff"] == pytest.approx(float(gap.sum()))
    assert table["far"]["dse"] == pytest.approx(float(2 * gap.std(unbiased=False)))
    with pytest.raises(ValueError, match="all by leave-one-out or all by held-out data"):
        ember.compare({"near": scores["near"], "loo": ember.loo(conjugate, near, NEW)})


def test_torchs_stream_stays_where_nothing_is_drawn() -> None:
    draws, state = exact_draws(data()), torch.get_rng_state()
    held_out(conjugate, draws, NEW)
    assert torch.equal(state, torch.get_rng_state())
