"""Tables of guides, draws and fits against moments that are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDelta, AutoNormal
from ember.infer.reparam import LocScaleReparam

Y = torch.tensor([0.5, 1.5, 1.0, 2.0])


def model(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(mu, 1.0), obs=y)


def guide(y: Tensor) -> None:
    # The posterior is Normal(1, 0.447).
    loc = ember.param("loc", torch.tensor(1.0))
    ember.sample("mu", dist.Normal(loc, 0.2**0.5))


def svi_of(guide: object = guide, model: object = model) -> SVI:
    return SVI(model, guide, ember.optim.Adam({"lr": 0.01}), Trace_ELBO(), param_store="own")  # type: ignore[arg-type]


def test_a_good_guide() -> None:
    torch.manual_seed(0)
    table = ember.summary(svi_of(), Y)
    row = table["mu"]
    assert row["mean"] == pytest.approx(1.0, abs=0.03)
    assert row["sd"] == pytest.approx(0.2**0.5, rel=0.05)
    assert row["95%"] == pytest.approx(1.0 + 1.645 * 0.2**0.5, abs=0.05)
    assert row["k_hat"] < 0.5
    assert "(" not in str(table).splitlines()[1]
    assert table.note.startswith("the guide is ok")


def test_a_model_with_its_guide_is_the_same_as_the_svi() -> None:
    svi = svi_of()
    ember.summary(svi, Y, num_samples=50)
    torch.manual_seed(0)
    first = ember.summary(svi, Y, num_samples=600)
    torch.manual_seed(0)
    assert str(ember.summary(model, guide, Y, num_samples=600)) == str(first)


def test_a_narrow_guide_stands_in_brackets() -> None:
    torch.manual_seed(0)

    def narrow(y: Tensor) -> None:
        ember.sample("mu", dist.Normal(1.5, 0.1))

    table = ember.summary(svi_of(narrow), Y)
    assert "(1.5" in str(table)
    assert "k-hat" in table.note


def test_a_point_and_batches_say_why_there_is_no_k_hat() -> None:
    table = ember.summary(svi_of(AutoDelta(model)), Y, num_samples=20)
    assert table["mu"]["sd"] == 0.0
    assert "on one point" in table.note

    def batch(y: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 100, subsample=torch.arange(len(y))):
            ember.sample("y", dist.Normal(mu, 1.0), obs=y)

    table = ember.summary(batch, guide, Y, num_samples=50)
    assert "k_hat" not in table.columns
    assert "plate 'rows' holds 4 of 100 rows" in table.note


def test_a_fit_has_its_own_table() -> None:
    fit = ember.fit(model, Y, seed=0, draws=100, progress=False)
    assert str(ember.summary(fit)) == str(fit.summary())


def test_draws() -> None:
    torch.manual_seed(0)
    draws = {"mu": torch.randn(4000), "b": 5.0 + 2.0 * torch.randn(4000, 2)}
    table = ember.summary(draws)
    assert table.names == ("mu", "b[0]", "b[1]")
    assert table["b[1]"]["sd"] == pytest.approx(2.0, rel=0.05)
    assert str(ember.summary(model, draws, Y)) == str(table)


def test_chains_and_iterates() -> None:
    torch.manual_seed(0)
    good = torch.randn(4, 500)
    apart = good + torch.arange(4.0)[:, None]
    drifting = torch.linspace(0.0, 5.0, 500)[None].expand(4, -1) + good
    table = ember.summary({"good": good, "apart": apart, "drifting": drifting}, by_chain=True)
    assert table["good"]["r_hat"] < 1.01
    assert 1500 < table["good"]["ess"] < 2500
    assert table["apart"]["r_hat"] > 1.3
    assert table["drifting"]["r_hat"] > 1.3


@pytest.mark.parametrize(
    ("draws", "by_chain", "words"),
    [
        ({}, False, "got none"),
        ({"mu": torch.zeros(())}, False, r"dims \(draw, ...\); got {'mu': \(\)}"),
        ({"mu": torch.zeros(0)}, False, r"\(0,\)"),
        ({"mu": torch.zeros(5)}, True, r"\(chain, draw, ...\)"),
        ({"mu": torch.zeros(2, 3)}, True, "four draws"),
        ({"mu": torch.zeros(5), "b": torch.zeros(6)}, False, "'b': 6"),
    ],
)
def test_says_what_is_wrong(draws: dict[str, Tensor], by_chain: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ember.summary(draws, by_chain=by_chain)


def test_says_what_can_be_summarised() -> None:
    with pytest.raises(
        ValueError, match=r"does not know what was fitted, from \(Tensor\): give what ember.fit"
    ):
        ember.summary(torch.zeros(3))

    def nothing(y: Tensor) -> None: ...

    with pytest.raises(ValueError, match="no latent site"):
        ember.summary(nothing, nothing, Y)


# ---- deterministic sites --------------------------------------------------------------------------------------------


def computed(y: Tensor) -> None:
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ember.deterministic("both", torch.stack([2.0 * mu, mu + 1.0]))
    ember.deterministic("fixed", torch.tensor(3.0))
    with ember.plate("rows", len(y)):
        k = ember.sample("k", dist.Bernoulli(0.5))
        ember.deterministic("of k", mu + k)
        ember.sample("y", dist.Normal(mu, 1.0), obs=y)


def test_deterministic_sites_of_a_guide() -> None:
    torch.manual_seed(0)
    table = ember.summary(computed, guide, Y)
    assert table.names == ("mu", "both[0]", "both[1]", "fixed")  # `of k` has no value of its own
    assert table["both[0]"]["mean"] == pytest.approx(2.0 * table["mu"]["mean"])
    assert table["both[1]"]["sd"] == pytest.approx(table["mu"]["sd"])
    assert table["both[0]"]["k_hat"] == pytest.approx(table["mu"]["k_hat"])
    assert table["fixed"]["mean"] == 3.0 and table["fixed"]["sd"] == 0.0


def test_a_fit_and_a_guide_have_the_same_sites() -> None:
    fit = ember.fit(computed, Y, seed=0, draws=100, progress=False)
    assert ember.summary(fit).names == ember.summary(computed, guide, Y, num_samples=50).names


def test_a_site_that_was_reparameterised() -> None:
    def centred(y: Tensor) -> None:
        tau = ember.sample("tau", dist.LogNormal(0.0, 1.0))
        theta = ember.sample("theta", dist.Normal(0.0, tau))
        ember.sample("y", dist.Normal(theta, 1.0).expand([4]).to_event(1), obs=y)

    model = ember.poutine.reparam(centred, config={"theta": LocScaleReparam(0.0)})
    table = ember.summary(
        SVI(model, AutoNormal(model), ember.optim.Adam({"lr": 0.01}), Trace_ELBO()), Y, num_samples=50
    )
    assert set(table.names) == {"tau", "theta_decentered", "theta"}


def test_a_deterministic_site_without_a_mean_is_told() -> None:
    torch.manual_seed(0)

    def heavy(y: Tensor) -> None:
        model(y)
        ember.deterministic("heavy", torch.exp(4.0 * ember.sample("z", dist.Normal(0.0, 1.0)).square()))

    def exact(y: Tensor) -> None:
        guide(y)
        ember.sample("z", dist.Normal(0.0, 1.0))

    table = ember.summary(heavy, exact, Y)
    assert table["heavy"]["k_hat"] > 0.7 > table["mu"]["k_hat"]
    assert table.note.startswith("the guide is ok") and "; not of heavy: k-hat above 0.7" in table.note


def test_deterministic_sites_where_draws_cannot_be_weighed() -> None:
    def batch(y: Tensor) -> None:
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        ember.deterministic("twice", 2 * mu)
        with ember.plate("rows", 100, subsample=torch.arange(len(y))):
            ember.sample("y", dist.Normal(mu, 1.0), obs=y)

    table = ember.summary(batch, guide, Y, num_samples=50)
    assert table["twice"]["mean"] == pytest.approx(2 * table["mu"]["mean"]) and "no k-hat" in table.note
    point = ember.summary(batch, AutoDelta(batch), Y, num_samples=5)
    assert point.names == ("mu", "twice")
