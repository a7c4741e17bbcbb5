"""`ember.fit`: known posteriors, what comes back, and what is left alone."""

from __future__ import annotations

import inspect
import pickle
import re
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.errors import ModelError, NotTrusted
from ember.fit.kept import kept_density
from ember.fit.pipeline import Climb
from ember.infer import SVI, Predictive, Trace_ELBO
from ember.optim import Adam
from tests.fit.programs import FLIPS, X, Y, all_heads, cauchy, coin, funnel, line, line_posterior, mixture


def fitted(model: Any, *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ember.fit(model, *args, **({"seed": 0, "progress": False} | options))


@pytest.fixture(scope="module")
def of_line() -> Any:
    return ember.fit(line, X, Y, seed=0, progress=False)


@pytest.fixture(scope="module")
def of_heads() -> Any:
    return fitted(all_heads, torch.ones(10))


class TestKnown:
    def test_beta(self) -> None:
        fit = ember.fit(coin, FLIPS, seed=0, progress=False)
        exact = torch.distributions.Beta(9.0, 5.0)
        row = fit.summary()["fairness"]
        assert fit.verdict.status == "ok"
        assert row["mean"] == pytest.approx(float(exact.mean), abs=0.02 * float(exact.stddev))
        assert row["sd"] == pytest.approx(float(exact.stddev), rel=0.02)

    def test_deterministic_sites_have_rows_and_draws(self) -> None:
        fit = ember.fit(coin, FLIPS, seed=0, progress=False)
        # The mean of the odds of a Beta(a, b) is a / (b - 1).
        assert fit.summary()["odds"]["mean"] == pytest.approx(9 / 4, rel=0.05)
        torch.testing.assert_close(fit.draws["odds"], fit.draws["fairness"] / (1 - fit.draws["fairness"]))

    def test_normal_regression(self, of_line: Any) -> None:
        mean, covariance = line_posterior(X, Y)
        assert of_line.verdict
        for i in range(2):
            row = of_line.summary()[f"weights[{i}]"]
            sd = float(covariance[i, i].sqrt())
            assert row["mean"] == pytest.approx(float(mean[i]), abs=0.03 * sd)
            assert row["sd"] == pytest.approx(sd, rel=0.03)
            assert row["95%"] == pytest.approx(float(mean[i]) + 1.645 * sd, abs=0.06 * sd)

    def test_draws_have_the_moments_of_the_table(self, of_line: Any) -> None:
        draws = of_line.draws["weights"].double()
        mean, covariance = line_posterior(X, Y)
        assert draws.shape == (4000, 2)
        torch.testing.assert_close(draws.mean(0), mean, atol=0.01, rtol=0)
        torch.testing.assert_close(draws.T.cov(), covariance, atol=1e-3, rtol=0.15)

    def test_discrete_sites_are_summed_out(self) -> None:
        y = torch.tensor([0.1, -0.5, 4.2, 3.7, 4.4, 3.9])
        fit = ember.fit(mixture, y, seed=0, progress=False)
        grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        ones, zeros = dist.Normal(4.0, 1.0).log_prob(y.double()), dist.Normal(0.0, 1.0).log_prob(y.double())
        log_p = torch.logaddexp(grid.log()[:, None] + ones, (1 - grid).log()[:, None] + zeros).sum(-1)
        weight = torch.softmax(log_p, 0)
        mean = float((weight * grid).sum())
        sd = float((weight * (grid - mean).square()).sum().sqrt())
        assert fit.verdict
        assert fit.summary()["share"]["mean"] == pytest.approx(mean, abs=0.03 * sd)
        assert list(fit.draws) == ["share"]


class TestVerdict:
    def test_a_funnel_is_fitted_through_noise_and_says_so(self) -> None:
        fit = fitted(funnel)
        # The fourth moment of x, which the error of its SD needs, is hardly finite in so many draws.
        assert fit.verdict.status in ("ok", "means only")
        assert "LocScaleReparam" in str(fit)
        assert fit.summary()["width"]["sd"] == pytest.approx(1.0, rel=0.05)
        assert fit.draws["x"].shape == (4000, 9)

    def test_a_density_without_moments_is_not_ok(self) -> None:
        with pytest.warns(UserWarning, match="ember.fit of cauchy"):
            fit = ember.fit(cauchy, seed=0, progress=False, budget=5)
        assert not fit.verdict
        assert "(" in fit.summary().cells()[0][1]

    def test_strict_raises_with_the_fit(self) -> None:
        with pytest.raises(NotTrusted, match="without strict=True") as caught:
            ember.fit(cauchy, seed=0, progress=False, strict=True, budget=5)
        assert caught.value.fit.verdict.status in ("poor", "not converged")

    def test_print_says_the_verdict_first(self, of_line: Any) -> None:
        lines = str(of_line).splitlines()
        assert lines[0].startswith("line: OK: means within ")
        assert lines[0].endswith("given that no mode was missed")
        assert any("k-hat" in text for text in lines[1:6])
        assert any(text.startswith("weights[1]") for text in lines)


class TestLeavesAlone:
    def test_the_same_seed_gives_the_same_fit(self, of_line: Any) -> None:
        again = ember.fit(line, X, Y, seed=0, progress=False)
        assert torch.equal(again.draws["weights"], of_line.draws["weights"])

    def test_random_stream_and_store(self) -> None:
        ember.param("mine", torch.tensor(1.0))
        torch.manual_seed(1)
        before = torch.get_rng_state()
        ember.fit(line, X, Y, seed=0, progress=False)
        assert torch.equal(before, torch.get_rng_state())
        assert list(ember.get_param_store()) == ["mine"]

    def test_without_a_seed_it_follows_torchs(self) -> None:
        found = []
        for _ in range(2):
            torch.manual_seed(5)
            found.append(ember.fit(line, X, Y, progress=False, draws=50).draws["weights"])
        assert torch.equal(*found)

    def test_draws_are_in_the_models_precision(self, of_line: Any) -> None:
        assert of_line.draws["weights"].dtype == torch.float32


class TestUse:
    def test_predict_from_draws(self, of_line: Any) -> None:
        predicted = Predictive(line, of_line.draws, return_sites=["y"])(X, None)["y"]
        mean, _ = line_posterior(X, Y)
        torch.testing.assert_close(predicted.mean(0).double(), X.double() @ mean, atol=0.1, rtol=0)

    def test_predict_from_the_guide(self, of_line: Any) -> None:
        predicted = Predictive(line, guide=of_line.guide, num_samples=1000)(X, None)["weights"]
        mean, _ = line_posterior(X, Y)
        torch.testing.assert_close(predicted.reshape(-1, 2).mean(0).double(), mean, atol=0.05, rtol=0)

    def test_a_warm_start_begins_at_the_optimum(self, of_line: Any) -> None:
        svi = SVI(line, of_line.guide, Adam({"lr": 1e-4}), Trace_ELBO(num_particles=50))
        first = svi.evaluate_loss(X, Y)
        assert first == pytest.approx(float(of_line.losses[-1]), abs=0.5)
        assert svi.step(X, Y) == pytest.approx(first, abs=1.0)

    def test_weighted_draws_sum_to_one(self, of_line: Any) -> None:
        assert float(of_line.weighted.log_weights.exp().sum()) == pytest.approx(1.0)
        assert of_line.weighted.draws["weights"].shape[1:] == (2,)

    def test_plot(self, of_line: Any) -> None:
        figure = of_line.plot()
        assert "line: ok" in figure.get_suptitle()
        with pytest.raises(KeyError, match="nothing"):
            of_line.plot(["nothing"])

    def test_to_arviz(self, of_line: Any) -> None:
        pytest.importorskip("arviz")
        data = of_line.to_arviz()
        assert data.attrs["verdict"] == "ok"
        assert data.log_likelihood["y"].shape == (1, 4000, 30)


class TestAsked:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"guide": "meanfield"}, "guide must be one of 'auto', 'mean-field'"),
            ({"draws": 0}, "draws must be a positive integer, got 0"),
            ({"draws": 2.5}, "draws must be a positive integer"),
            ({"budget": -1}, "budget must be a positive number of seconds"),
            ({"budget": float("nan")}, "budget must be a positive number of seconds"),
        ],
    )
    def test_options_that_cannot_be(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            ember.fit(coin, FLIPS, progress=False, **options)

    def test_the_page_has_all_of_them_with_their_defaults(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "fit.md").read_text().partition("\n## Options\n")[2]
        rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE))
        parameters = inspect.signature(ember.fit).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        assert rows.keys() == options.keys()
        assert rows.pop("seed") == "from torch's stream" and options.pop("seed") is None
        assert {name: cell.strip('`"') for name, cell in rows.items()} == {
            name: f"{value:g}" if name == "budget" else str(value) for name, value in options.items()
        }

    def test_no_model(self) -> None:
        with pytest.raises(ValueError, match="model must be a function"):
            ember.fit(FLIPS)

    def test_a_discrete_site_without_end_is_named(self) -> None:
        def counts() -> None:
            n = ember.sample("n", dist.Poisson(3.0))
            ember.sample("y", dist.Normal(n, 1.0), obs=torch.tensor(2.0))

        with pytest.raises(ValueError, match="'n' cannot be summed out"):
            ember.fit(counts, progress=False)


class TestParameters:
    def test_are_maximised_with_the_latent_sites_integrated_out(self) -> None:
        """One-way layout: the maximum of the marginal likelihood is known (Searle, Casella and McCulloch, 1992)."""
        torch.manual_seed(0)
        groups, rows = 12, 4
        y = 2.0 + 1.5 * torch.randn(groups)[:, None] + 0.7 * torch.randn(groups, rows)

        def layout(y: torch.Tensor) -> None:
            positive = dist.constraints.positive
            mu = ember.param("mu", torch.tensor(0.0))
            tau = ember.param("tau", torch.tensor(1.0), constraint=positive)
            sigma = ember.param("sigma", torch.tensor(1.0), constraint=positive)
            with ember.plate("groups", groups, dim=-2):
                a = ember.sample("a", dist.Normal(mu, tau))
                with ember.plate("rows", rows, dim=-1):
                    ember.sample("y", dist.Normal(a, sigma), obs=y)

        fit = ember.fit(layout, y, seed=0, progress=False)
        within = float((y - y.mean(1, keepdim=True)).square().sum()) / (groups * (rows - 1))
        between = float((y.mean(1) - y.mean()).square().sum()) / groups
        assert fit.verdict
        assert float(fit.params["mu"]) == pytest.approx(float(y.mean()), abs=2e-3)
        assert float(fit.params["tau"]) == pytest.approx((between - within / rows) ** 0.5, rel=5e-3)
        assert float(fit.params["sigma"]) == pytest.approx(within**0.5, rel=5e-3)

    def test_a_model_of_parameters_alone_is_refused(self) -> None:
        def likelihood() -> None:
            ember.sample("y", dist.Normal(ember.param("mu", torch.tensor(0.0)), 1.0), obs=torch.tensor(1.0))

        with pytest.raises(ValueError, match="no latent sites"):
            ember.fit(likelihood, progress=False)


@pytest.mark.parametrize("guide", ["mean-field", "full-rank", "skewed", "mixture", "low-rank"])
def test_one_family_alone(guide: str) -> None:
    fit = fitted(line, X, Y, guide=guide)
    mean, covariance = line_posterior(X, Y)
    row = fit.summary()["weights[1]"]
    assert fit.verdict.status == "ok"
    assert row["mean"] == pytest.approx(float(mean[1]), abs=0.05 * float(covariance[1, 1].sqrt()))


class TestAdvice:
    def test_names_a_way_out_that_was_checked(self) -> None:
        fit = fitted(funnel, guide="full-rank")
        assert not fit.verdict
        assert 'guide="auto": checked, it is ok' in fit.advice
        assert "what helps" in str(fit)

    def test_without_a_mean_there_are_quantiles(self) -> None:
        fit = fitted(cauchy, budget=10)
        assert any("quantiles" in line for line in fit.advice)

    def test_a_good_fit_needs_none(self, of_line: Any) -> None:
        assert of_line.advice == ()

    def test_a_spent_budget_is_named(self) -> None:
        fit = fitted(cauchy, budget=0.05)
        assert fit.seconds < 20
        assert not fit.verdict


def test_compiling_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is a thousand seconds ahead after compiling."""
    module: Any = sys.modules["ember.fit.by_density"]
    ahead, budgets = [0.0], []

    def compiled(*args: Any) -> Any:
        ahead[0] += 1000.0
        return kept_density(*args)

    class Noting(Climb):
        def __init__(self, density: Any, quantities: Any, options: Any) -> None:
            budgets.append(options.budget)
            super().__init__(density, quantities, options)

    monkeypatch.setattr(
        module, "time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + ahead[0]), raising=True
    )
    monkeypatch.setattr(module, "kept_density", compiled)
    monkeypatch.setattr(module, "Climb", Noting)
    ember.fit(coin, FLIPS, seed=0, progress=False, budget=500.0)
    assert ahead[0] >= 1000.0 and budgets[0] > 400.0


class Slope(ember.nn.PyroModule):
    """A linear layer with a random weight, and a parameter for its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.line = ember.nn.PyroModule[torch.nn.Linear](1, 1)
        self.line.weight = ember.nn.PyroSample(dist.Normal(0.0, 1.0).expand([1, 1]).to_event(2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> None:
        mean = self.line(x).squeeze(-1)
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Normal(mean, 1.0), obs=y)


def test_a_module_keeps_its_own_parameters() -> None:
    model = Slope()
    own, value = model.line.bias, model.line.bias.detach().clone()
    fit = ember.fit(
        model, torch.tensor([[-1.0], [0.0], [1.0]]), torch.tensor([0.0, 1.0, 2.0]), seed=0, progress=False
    )
    row = fit.summary()["line.weight[0,0]"]
    assert row["mean"] == pytest.approx(2 / 3, abs=0.02) and row["sd"] == pytest.approx(3**-0.5, rel=0.03)
    # Marginally y is normal around the bias, and the data are balanced: the best bias is their mean.
    torch.testing.assert_close(fit.params["line.bias"], torch.ones(1), atol=0.01, rtol=0)
    assert set(fit.weighted.draws) == {"line.weight"}
    assert model.line.bias is own and own.dtype == torch.float32
    torch.testing.assert_close(own.detach(), value)


def test_a_flat_prior_with_nothing_to_bound_it_is_poor() -> None:
    def flat() -> None:
        ember.sample("z", dist.ImproperUniform(constraints.real, (), ()))
        ember.sample("w", dist.Normal(0.0, 1.0))

    assert fitted(flat, budget=1.0).verdict.status in ("poor", "not converged")


def test_a_circle_is_no_line() -> None:
    def angle() -> None:
        ember.sample("z", dist.VonMises(torch.zeros(2), 5.0).to_event(1))

    with pytest.raises(ModelError, match="'z': VonMises is a density on a circle"):
        ember.fit(angle, progress=False)


def test_a_model_that_changes_its_data_is_refused() -> None:
    def grows(y: torch.Tensor) -> None:
        y += 1
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(z, 1.0).expand([3]).to_event(1), obs=y)

    with pytest.raises(ModelError, match="at the same point in the next run"):
        ember.fit(grows, torch.ones(3), progress=False)


def test_seeds_and_draws_of_numpy() -> None:
    one = ember.fit(coin, FLIPS, seed=np.int64(3), draws=np.int32(7), progress=False)
    other = ember.fit(coin, FLIPS, seed=3, draws=7, progress=False)
    torch.testing.assert_close(one.draws["fairness"], other.draws["fairness"], rtol=0, atol=0)
    with pytest.raises(ModelError, match="seed must be an integer below"):
        ember.fit(coin, FLIPS, seed=1 << 53, progress=False)


def test_an_interrupt_between_attempts_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["ember.fit.by_density"], "_through_noise", pressed)
    fit = fitted(cauchy)
    assert fit.verdict.status == "poor" and fit.verdict.reasons[0] == "interrupted"
    assert [stage.name for stage in fit.stages] == ["locate", "full-rank"]


def test_a_fit_can_be_pickled() -> None:
    fit = ember.fit(coin, FLIPS, seed=0, progress=False)
    again = pickle.loads(pickle.dumps(fit))
    assert str(again) == str(fit)
    torch.testing.assert_close(again.weighted.draws["odds"], fit.weighted.draws["odds"])


def test_a_torch_module_whose_parameters_cannot_be_set_is_refused() -> None:
    net = torch.nn.Linear(1, 1)

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        ember.module("net", net)
        scale = ember.sample("scale", dist.HalfNormal(1.0))
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Normal(net(x).squeeze(-1), scale), obs=y)

    with pytest.raises(ModelError, match="torch module 'net', which reads its own tensors"):
        ember.fit(model, torch.ones(3, 1), torch.ones(3), progress=False)


def test_data_of_float64_meet_priors_of_float32() -> None:
    """In plain runs torch refuses the product; a fit computes in double precision, in all of its coordinates."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, dtype=torch.double, generator=generator)
    y = torch.randn(40, dtype=torch.double, generator=generator)

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        slope = ember.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        spread = ember.sample("spread", dist.HalfCauchy(1.0))
        with ember.plate("groups", 4):
            level = ember.sample("level", dist.Normal(0.0, spread))
        with ember.plate("rows", 40):
            ember.sample("y", dist.Normal(level[torch.arange(40) % 4] + x @ slope, 1.0), obs=y)

    fit = ember.fit(model, x, y, seed=0, progress=False, budget=120.0)
    assert fit.verdict and {value.dtype for value in fit.draws.values()} == {torch.double}


def test_a_site_under_one_that_is_summed_out_stays_as_it_is() -> None:
    """In noise coordinates a coefficient under a discrete site would have no value of its own: they are left out."""

    def model(y: torch.Tensor) -> None:
        wide = ember.sample("wide", dist.Bernoulli(0.4), infer={"enumerate": "parallel"})
        slope = ember.sample("slope", dist.Normal(torch.zeros(()), 0.03 + 3.0 * wide))
        ember.sample("y", dist.Normal(slope, 1.0), obs=y)

    y, scales = torch.tensor(2.5), torch.tensor([0.03, 3.03])
    fit = ember.fit(model, y, seed=0, progress=False, budget=120.0)
    weights = dist.Normal(0.0, (1 + scales.square()).sqrt()).log_prob(y).exp() * torch.tensor([0.6, 0.4])
    mean = ((weights / weights.sum()) * y * scales.square() / (1 + scales.square())).sum()
    assert not fit.verdict or float(fit.draws["slope"].mean()) == pytest.approx(float(mean), abs=0.1)
    assert set(fit.draws) == {"slope"}


class TestByQuantity:
    """One quantity without moments: the others keep their verdict, and nothing vouches for that one."""

    def test_words(self, of_heads: Any) -> None:
        assert of_heads.verdict.quantities == {"logit": "ok", "fairness": "ok", "odds": "poor"}
        assert of_heads.verdict.status == "poor"
        assert not of_heads and not of_heads.verdict

    def test_what_is_printed(self, of_heads: Any) -> None:
        head = str(of_heads).splitlines()[0]
        assert "POOR for odds — do not use its mean and SD; the other 2 quantities are OK" in head
        assert "inf %" not in str(of_heads) and "nan %" not in str(of_heads)
        assert "use quantiles" in of_heads.advice[0]

    def test_the_table(self, of_heads: Any) -> None:
        rows = {line.split()[0]: line.split() for line in str(of_heads.summary()).splitlines()[1:]}
        assert rows["odds"][1].startswith("(") and not rows["odds"][6].startswith("(")
        assert rows["odds"][-1] == "poor" and rows["logit"][-1] == "ok"
        assert not any(cell.startswith("(") for cell in rows["logit"])

    def test_it_is_no_fit_to_be_trusted_whole(self) -> None:
        with pytest.raises(NotTrusted, match="poor for odds"):
            ember.fit(all_heads, torch.ones(10), seed=0, progress=False, strict=True)

    def test_all_alike(self, of_line: Any) -> None:
        assert set(of_line.verdict.quantities.values()) == {"ok"}
        assert "verdict" not in str(of_line.summary())
