"""Predictive, WeighedPredictive and MHResampler."""

from __future__ import annotations

import io
import math
import warnings

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.infer import MHResampler, Predictive, WeighedPredictive
from ember.infer.posterior.predictive import WeighedPredictiveResults
from ember.nn import PyroModule, PyroParam, PyroSample
from ember.ops.stats import quantile, weighed_quantile


def model(n=5, obs=None):
    a = ember.sample("a", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with ember.plate("p", 3):
        b = ember.sample("b", dist.Normal(a.sum(-1), 1.0))
        ember.deterministic("d", b * 2, event_dim=0)
    with ember.plate("q", n):
        ember.sample("c", dist.Normal(b.sum(-1, keepdim=True), 0.1), obs=obs)
    ember.deterministic("e", a * 3)
    return b


def guide(n=5, obs=None):
    loc = ember.param("loc", torch.zeros(2))
    a = ember.sample("a", dist.Normal(loc, 1.0).to_event(1))
    with ember.plate("p", 3):
        ember.sample("b", dist.Normal(a.sum(-1), 1.0))


def shapes(samples):
    return {name: tuple(value.shape) for name, value in samples.items()}


ALL = {"a": (7, 1, 2), "b": (7, 3), "d": (7, 3), "c": (7, 5), "e": (7, 1, 2)}


@pytest.fixture(params=[False, True], ids=["sequential", "parallel"])
def parallel(request):
    return request.param


class TestSites:
    def test_prior(self, parallel):
        expected = ALL if not parallel else ALL | {"e": (7, 1, 2)}
        assert shapes(Predictive(model, num_samples=7, parallel=parallel)()) == expected

    def test_guide_returns_all_sites(self, parallel):
        assert shapes(Predictive(model, guide=guide, num_samples=7, parallel=parallel)()) == ALL

    def test_posterior_samples_are_left_out(self, parallel):
        samples = {"a": torch.randn(7, 1, 2), "b": torch.randn(7, 3)}
        predictive = Predictive(model, samples, parallel=parallel)
        assert predictive.num_samples == 7
        assert set(predictive()) == {"c", "d", "e"}
        assert set(Predictive(model, samples, return_sites=None, parallel=parallel)()) == set(ALL)

    def test_return_sites(self, parallel):
        predictive = Predictive(
            model, guide=guide, num_samples=7, return_sites=("c", "_RETURN"), parallel=parallel
        )
        result = predictive()
        assert shapes(result) == {"c": (7, 5), "_RETURN": (7, 3)}

    def test_values_of_the_posterior_are_used(self, parallel):
        b = torch.arange(6.0).reshape(2, 3)
        a = torch.zeros(2, 1, 2)
        result = Predictive(model, {"a": a, "b": b}, parallel=parallel)()
        assert torch.equal(result["d"], b * 2)
        assert torch.allclose(result["c"].mean(1), b.sum(1), atol=0.5)

    def test_event_dims_need_no_dims_for_plates(self):
        """Samples as other programs give them: (num_samples,) + event_shape."""
        a = torch.randn(7, 2)
        result = Predictive(model, {"a": a}, parallel=True)()
        assert torch.allclose(result["e"].squeeze(1), 3 * a)
        assert (result["b"] - a.sum(-1, keepdim=True)).abs().max() < 6

    def test_observed_sites_are_returned(self, parallel):
        obs = torch.arange(5.0)
        result = Predictive(model, guide=guide, num_samples=7, parallel=parallel)(obs=obs)
        assert torch.equal(result["c"], obs.expand(7, 5))

    def test_what_is_no_tensor(self, parallel):
        def program():
            ember.sample("z", dist.Normal(0.0, 1.0))
            return "text"

        result = Predictive(program, num_samples=3, return_sites=["_RETURN"], parallel=parallel)()
        assert result["_RETURN"] == ("text" if parallel else ["text"] * 3)


def test_refusals():
    with pytest.raises(ValueError, match="Either posterior_samples or num_samples must be specified"):
        Predictive(model)
    with pytest.raises(ValueError, match="No sample sites in posterior samples to infer"):
        Predictive(model, {})
    with pytest.raises(ValueError, match="cannot be provided with the `guide` argument"):
        Predictive(model, {"a": torch.zeros(3, 2)}, guide=guide)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        Predictive(model, num_samples=3, batch_size=0)
    with pytest.raises(AssertionError, match="return_sites must be a list"):
        Predictive(model, num_samples=3, return_sites="a")
    with pytest.warns(
        UserWarning, match=r"leading dimension size 3 is different from the provided 4 num_samples"
    ):
        assert Predictive(model, {"a": torch.zeros(3, 2)}, num_samples=4).num_samples == 3
    with pytest.warns(DeprecationWarning, match="get_samples"):
        Predictive(model, num_samples=2).get_samples()


def test_no_gradients_and_no_densities(parallel):
    class Unscored(dist.Normal):
        def log_prob(self, value):
            raise AssertionError("a density was evaluated")

    seen = []

    def program():
        scale = ember.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        ember.sample("z", Unscored(0.0, scale))
        seen.append(poutine.get_mask())

    result = Predictive(program, num_samples=3, parallel=parallel)()
    assert not result["z"].requires_grad and set(seen) == {False}


def test_conjugate_posterior_predictive(parallel):
    """z ~ N(1, 0.5^2) a posteriori, y = z + N(0, 1): the predictive is N(1, 1.25)."""

    def program():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("data", 2):
            ember.sample("y", dist.Normal(z, 1.0))

    def posterior():
        ember.sample("z", dist.Normal(1.0, 0.5))

    torch.manual_seed(0)
    size = 4000 if parallel else 1000
    y = Predictive(program, guide=posterior, num_samples=size, parallel=parallel)()["y"]
    assert abs(y[:, 0].mean() - 1.0) < 4 * (1.25 / size) ** 0.5
    assert abs(y[:, 0].var() - 1.25) < 5 * 1.25 * (2 / size) ** 0.5
    covariance = ((y[:, 0] - 1) * (y[:, 1] - 1)).mean()
    assert abs(covariance - 0.25) < 5 * 1.3 / size**0.5


class TestBatches:
    def test_shapes_and_values(self, parallel):
        samples = {"a": torch.randn(7, 1, 2), "b": torch.randn(7, 3)}
        whole = Predictive(model, samples, parallel=parallel)()
        parts = Predictive(model, samples, parallel=parallel, batch_size=3)()
        assert shapes(whole) == shapes(parts)
        assert torch.equal(whole["d"], parts["d"]) and torch.equal(whole["e"], parts["e"])

    def test_with_a_guide(self, parallel):
        assert shapes(Predictive(model, guide=guide, num_samples=7, parallel=parallel, batch_size=2)()) == ALL

    def test_a_run_is_never_larger_than_a_batch(self):
        sizes = []

        def program():
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            sizes.append(z.numel())

        assert Predictive(program, num_samples=10, parallel=True, batch_size=4)()["z"].shape == (10,)
        assert sizes == [1, 4, 4, 2]

    def test_sequential_numbers_do_not_depend_on_batches(self):
        def draw(batch_size):
            torch.manual_seed(0)
            return Predictive(model, num_samples=6, batch_size=batch_size)()["c"]

        assert torch.equal(draw(None), draw(4))

    def test_progress(self, parallel, capsys):
        Predictive(model, num_samples=6, parallel=parallel, batch_size=2, progress=True)()
        assert "6/6" in capsys.readouterr().err


def test_vectorized_trace(parallel):
    trace = Predictive(model, guide=guide, num_samples=7, parallel=parallel).get_vectorized_trace()
    assert trace.nodes["c"]["value"].shape == (7, 5)
    assert trace.nodes["a"]["value"].shape == (7, 1, 2)
    assert trace.nodes["c"]["cond_indep_stack"][-1].name in ("q", "_num_predictive_samples")


def test_outer_handlers_see_each_site_of_a_parallel_run_once():
    with poutine.trace() as outer:
        Predictive(model, num_samples=4, parallel=True)()
    assert outer.trace.nodes["c"]["value"].shape == (4, 5)


class Regression(PyroModule):
    def __init__(self):
        super().__init__()
        self.linear = PyroModule[torch.nn.Linear](3, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))

    def forward(self, x, y=None):
        mean = self.linear(x).squeeze(-1)
        with ember.plate("data", len(x)):
            return ember.sample("y", dist.Normal(mean, 1.0), obs=y)


class RegressionGuide(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = PyroParam(torch.zeros(1, 3))

    def forward(self, x, y=None):
        ember.sample("linear.weight", dist.Normal(self.loc, 0.1).to_event(2))


def test_call_can_be_traced_by_torchs_jit():
    x = torch.randn(4, 3)
    predictive = Predictive(Regression(), guide=RegressionGuide(), num_samples=5)
    samples = predictive(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit itself is deprecated
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = torch.jit.trace_module(predictive, {"call": (x,)}, check_trace=False)
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file)
    names = sorted(samples)
    result = dict(zip(names, loaded.call(x), strict=True))
    assert shapes(result) == shapes(samples)
    assert not torch.equal(result["y"], dict(zip(names, loaded.call(x), strict=True))["y"])


def test_state_dict_reaches_model_and_guide():
    predictive = Predictive(Regression(), guide=RegressionGuide(), num_samples=5)
    assert set(predictive.state_dict()) == {"model.linear.bias", "guide.loc_unconstrained"}


# ---- weights --------------------------------------------------------------------------------------------------------


def prior_model():
    return ember.sample("z", dist.Normal(0.0, 1.0))


def proposal():
    ember.sample("z", dist.Normal(0.5, 1.5))


def conditioned():
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    with ember.plate("data", 2):
        ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor([1.0, 2.0]))
    return z


POSTERIOR = dist.Normal(1.0, 3**-0.5)  # of z, given the two observations


def weighed(parallel, size, **kwargs):
    return WeighedPredictive(
        prior_model,
        guide=proposal,
        num_samples=size,
        parallel=parallel,
        return_sites=["z", "_RETURN"],
        **kwargs,
    )


def test_weights_are_densities(parallel):
    result = weighed(parallel, 6, batch_size=4)(model_guide=conditioned)
    z = result.samples["z"].reshape(-1)
    p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(torch.tensor([[1.0], [2.0]])).sum(0)
    q = dist.Normal(0.5, 1.5).log_prob(z)
    assert torch.allclose(result.model_log_prob, p, atol=1e-5)
    assert torch.allclose(result.guide_log_prob, q, atol=1e-5)
    assert torch.allclose(result.log_weights, p - q, atol=1e-5)
    assert torch.equal(result.samples["_RETURN"].reshape(-1), z)
    own = weighed(parallel, 6)()
    z = own.samples["z"].reshape(-1)
    expected = dist.Normal(0.0, 1.0).log_prob(z) - dist.Normal(0.5, 1.5).log_prob(z)
    assert torch.allclose(own.log_weights, expected, atol=1e-5)


def test_weighed_progress(capsys):
    weighed(True, 6, batch_size=4, progress=True)(model_guide=conditioned)
    assert "6/6" in capsys.readouterr().err


def test_weighed_call_and_clone():
    result = weighed(True, 3).call(model_guide=conditioned)
    assert isinstance(result.samples, tuple) and result.samples[0].shape == (3,)
    result = weighed(True, 3)()
    copied = result.clone()
    copied.samples["z"].zero_()
    assert (result.samples["z"] != 0).all() and isinstance(copied, WeighedPredictiveResults)
    with pytest.raises(ValueError, match="needs a guide"):
        WeighedPredictive(prior_model, num_samples=3)()


def test_weighed_quantiles_and_evidence():
    torch.manual_seed(0)
    result = weighed(True, 20000)(model_guide=conditioned)
    for p in (0.1, 0.5, 0.9):
        value = weighed_quantile(result.samples["z"], [p], result.log_weights)[0]
        assert abs(value - POSTERIOR.icdf(torch.tensor(p))) < 0.04
    covariance = torch.eye(2) + 1
    evidence = dist.MultivariateNormal(torch.zeros(2), covariance).log_prob(torch.tensor([1.0, 2.0]))
    error = result.get_normalized_weights().square().sum().sqrt()
    assert abs(result.get_log_normalizer() - evidence) < 4 * error
    assert 1 < result.get_ESS() < 20000


def test_resampler_reaches_the_posterior():
    torch.manual_seed(0)
    resampler = MHResampler(weighed(True, 2000), slice(0, 2), slice(-1, None))
    for _ in range(15):
        current = resampler(model_guide=conditioned)
    z = current.samples["z"]
    assert abs(z.mean() - 1.0) < 4 * (1 / 3 / 2000) ** 0.5
    assert abs(quantile(z, 0.9) - POSTERIOR.icdf(torch.tensor(0.9))) < 0.08
    counts = resampler.transition_count
    assert resampler.get_total_transition_count() == counts.sum() and counts.max() <= 14
    assert resampler.get_min_sample_transition_count() == counts.min()
    assert resampler.get_source_samples().samples["z"].shape == (4000,)
    stored = resampler.get_stored_samples()
    assert torch.equal(stored.samples["z"], z) and stored.samples["z"] is not z


def test_resampler_accepts_what_is_better_and_keeps_what_is_impossible():
    weights = iter([[0.0, 0.0], [1.0, -math.inf]])
    values = iter([[1.0, 2.0], [3.0, 4.0]])

    def sampler():
        w = torch.tensor(next(weights))
        return WeighedPredictiveResults({"z": torch.tensor(next(values))}, w, torch.zeros(2), w)

    resampler = MHResampler(sampler)
    resampler()
    assert resampler().samples["z"].tolist() == [3.0, 2.0]
    assert resampler.transition_count.tolist() == [1, 0]


MASK, Y = torch.tensor([True, False, True]), torch.tensor([1.0, 5.0, 2.0])


def masked_by_handler(program):
    def run():
        with ember.plate("rows", 3), ember.poutine.mask(mask=MASK):
            program(lambda d: d)

    return run, MASK


def masked_distributions(program):
    def run():
        with ember.plate("rows", 3):
            program(lambda d: d.mask(MASK))

    return run, MASK


def masked_and_scaled(program):
    def run():
        with ember.plate("rows", 3), ember.poutine.scale(scale=2.0), ember.poutine.mask(mask=MASK):
            program(lambda d: d)

    return run, 2.0 * MASK


def masked_from_outside(program):
    def run():
        with ember.plate("rows", 3):
            program(lambda d: d)

    return ember.poutine.mask(run, mask=MASK), MASK


def masked_altogether(program):
    def run():
        with ember.plate("rows", 3):
            program(lambda d: d.mask(False))

    return run, torch.zeros(3)


@pytest.mark.parametrize(
    "masked",
    [masked_by_handler, masked_distributions, masked_and_scaled, masked_from_outside, masked_altogether],
)
def test_weights_of_masked_sites(parallel, masked):
    def of_model(change):
        z = ember.sample("z", change(dist.Normal(0.0, 1.0)))
        ember.sample("y", change(dist.Normal(z, 1.0)), obs=Y)

    def of_guide(change):
        ember.sample("z", change(dist.Normal(0.5, 2.0)))

    (model, factor), (guide, _) = masked(of_model), masked(of_guide)
    result = WeighedPredictive(model, guide=guide, num_samples=5, batch_size=2, parallel=parallel)()
    z = result.samples["z"].reshape(5, 3)
    p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(Y)
    q = dist.Normal(0.5, 2.0).log_prob(z)
    torch.testing.assert_close(result.model_log_prob, (p * factor).sum(-1))
    torch.testing.assert_close(result.guide_log_prob, (q * factor).sum(-1))
    torch.testing.assert_close(result.log_weights, ((p - q) * factor).sum(-1))


def test_weights_where_the_mask_is_drawn(parallel):
    def model():
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 3), ember.poutine.mask(mask=z > 0):
            ember.sample("y", dist.Normal(z, 1.0), obs=Y)

    result = WeighedPredictive(model, guide=proposal, num_samples=8, parallel=parallel)()
    z = result.samples["z"].reshape(8, 1)
    likelihood = (dist.Normal(z, 1.0).log_prob(Y) * (z > 0)).sum(-1)
    torch.testing.assert_close(
        result.model_log_prob, dist.Normal(0.0, 1.0).log_prob(z).squeeze(-1) + likelihood
    )
    assert 0 < (z > 0).sum() < 8


@pytest.mark.parametrize("how", [{}, {"parallel": True}, {"by_rows": True}])
def test_deterministic_sites_follow_the_arguments_of_now(how):
    """Also where samples of them are given, from a fit of other data."""

    def model(x):
        slope = ember.sample("slope", dist.Normal(0.0, 1.0))
        mean = ember.deterministic("mean", slope * x)
        with ember.plate("rows", len(x)):
            ember.sample("y", dist.Normal(mean, 1e-3))

    samples = {"slope": torch.ones(6), "mean": torch.full((6, 3), 7.0)}
    for x in (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0])):
        found = Predictive(model, samples, **how)(x)
        assert set(found) == {"y"}
        torch.testing.assert_close(found["y"], x.expand(6, -1), rtol=0, atol=0.01)
    if "parallel" not in how:
        # What it follows from is not given: then the given values are all that is known.
        del samples["slope"]
        given = Predictive(model, samples, return_sites=["y"], **how)(torch.ones(3))["y"]
        torch.testing.assert_close(given, torch.full((6, 3), 7.0), rtol=0, atol=0.01)
