"""Forecasting models, fitted and forecast."""

from __future__ import annotations

import logging
import pickle
from contextlib import nullcontext

import pytest
import torch
from tests.contrib.forecast.series import Batch, LocalLevel, Regression, Subsampled, Walk

import ember
import ember.distributions as dist
from ember import settings
from ember.contrib.forecast import Forecaster, ForecastingModel, util
from ember.contrib.forecast.util import PrefixConditionMessenger
from ember.errors import CaptureError
from ember.infer.autoguide import AutoDelta, AutoMultivariateNormal

NONE = torch.empty(26, 0)


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ember.set_rng_seed(1)
    return torch.randn(3, 20, 2).cumsum(-2), torch.randn(20, 1).cumsum(-2), torch.randn(26, 3)


def fitted(model: ForecastingModel, x, covariates=NONE, steps: int = 12, **options) -> Forecaster:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    return Forecaster(model, x, covariates[: x.size(-2)], num_steps=steps, log_every=0, **options)


# Of Pyro 1.9.2 with torch 2.13, from the same seeds: first losses, the last one, first values of a forecast, the last one.
PYRO = {
    "batch": ([7.512708, 7.588949, 7.509016], 7.244627, [-9.124419, -6.792407, -6.996564], -0.465540),
    "frequencies": ([7.512708, 7.552679, 7.442629], 7.057392, [-8.918878, -6.988013, -6.791021], -0.269070),
    "regression": ([13.692462, 13.501584, 13.505276], 12.954689, [7.033014, 20.441935, 12.152764], 16.559607),
    "level": ([1.919925, 2.221201, 2.071012], 2.215916, [0.501036, 2.900271, 2.023286], 4.135067),
}


@pytest.mark.parametrize("name", PYRO)
def test_losses_and_forecasts_of_a_seed_are_pyros(name: str) -> None:
    batch, one, covariates = data()
    model, x, given, options = {
        "batch": (Batch(), batch, NONE, {}),
        "frequencies": (Batch(), batch, NONE, {"dct_gradients": True}),
        "regression": (Regression(), one, covariates, {}),
        "level": (LocalLevel(), one, NONE, {}),
    }[name]
    forecaster = fitted(model, x, given, **options)
    drawn = forecaster(x, given, 4)
    assert drawn.shape == (4, *x.shape[:-2], 6, x.size(-1))
    losses, last, values, end = PYRO[name]
    assert [*forecaster.losses[:3], forecaster.losses[-1]] == pytest.approx([*losses, last], rel=1e-5)
    found = drawn.flatten()
    assert [*found[:3].tolist(), found[-1].item()] == pytest.approx([*values, end], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["plain", "haar", "subsampled"])
def test_native_steps_give_the_losses_of_eager_ones(name: str) -> None:
    batch, one, _ = data()
    model, x, options = {
        "plain": (Walk, one, {"dct_gradients": True}),
        "haar": (Walk, one, {"time_reparam": "haar"}),
        "subsampled": (Subsampled, batch.flatten(0, 1).T.reshape(2, 3, 20, 1).flatten(0, 1), SUBSAMPLED),
    }[name]
    losses = []
    for mode in (False, True):
        with settings.context(compile=mode):
            forecaster = fitted(model(), x, steps=5, **options)
        losses.append(forecaster.losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert "native" in str(ember.capture.explain(forecaster.svi))


SUBSAMPLED = {
    "create_plates": lambda zero_data, covariates: ember.plate("series", 6, subsample_size=2, dim=-2),
    "subsample_aware": True,
}


def test_many_steps_are_native_without_being_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    _, x, _ = data()
    ember.clear_param_store()
    ember.set_rng_seed(0)
    with caplog.at_level(logging.INFO, "pyro.contrib.forecast.forecaster"):
        forecaster = Forecaster(Walk(), x, NONE[:20], num_steps=101, learning_rate=0.1, log_every=50)
    assert "1 captures" in str(ember.capture.explain(forecaster.svi))
    assert len(forecaster.losses) == 101 and forecaster.losses[-1] < forecaster.losses[0]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split("loss")[0] for line in lines] == ["step    0 ", "step   50 ", "step  100 "]
    assert float(lines[-1].split("= ")[1]) == pytest.approx(forecaster.losses[-1], rel=1e-5)


@pytest.mark.parametrize("time_reparam", [None, "haar", "dct"])
def test_a_forecast_goes_on_from_where_the_data_end(time_reparam: str | None) -> None:
    x = torch.arange(16.0).unsqueeze(-1) * 2 + 100
    with settings.context(compile=True):
        forecaster = fitted(Walk(), x, steps=1500, time_reparam=time_reparam, learning_rate=0.1)
    drawn = forecaster(x, NONE[:20], 400)
    # The last value, and steps of mean 0 and deviation 3.
    assert drawn.shape == (400, 4, 1)
    assert drawn.mean(0).flatten().tolist() == pytest.approx([130.0] * 4, abs=1.2)
    assert drawn.std(0).flatten().tolist() == pytest.approx([3.0, 4.24, 5.2, 6.0], rel=0.12)


@pytest.mark.parametrize("time_reparam", ["haar", "dct"])
def test_a_forecast_may_start_before_the_end_of_what_was_fitted(time_reparam: str) -> None:
    x = torch.arange(16.0).unsqueeze(-1) * 2 + 100
    forecaster = fitted(Walk(), x, steps=20, guide=None, time_reparam=time_reparam)
    walk = util.time_reparam_haar if time_reparam == "haar" else util.time_reparam_dct
    for value in forecaster.guide.scales.parameters():
        value.data.fill_(-30.0)  # as good as no spread
    with ember.poutine.trace() as drawn:
        forecaster.guide(x, NONE[:16])
    with ember.poutine.trace() as tr, ember.poutine.replay(trace=drawn.trace):
        ember.poutine.reparam(forecaster.model, walk)(x, NONE[:16])
    expected = tr.trace.nodes["steps"]["value"].cumsum(-2)[10:]
    later = forecaster(x[:10], NONE[:18], 200)
    # Six times that were fitted, with noise of 0.1, and two after them.
    assert later.shape == (200, 8, 1)
    assert later.mean(0)[:6].flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=0.04)
    with pytest.raises(AssertionError, match=r"fitted to 16 times with .* the covariates are of 14"):
        forecaster(x[:10], NONE[:14], 2)


def test_forecasts_of_a_hidden_markov_model_are_those_of_its_normal_distribution() -> None:
    """All times are jointly normal, so the later ones given the first have moments in closed form."""

    class Level(ForecastingModel):
        def model(self, zero_data, covariates):
            unit = dist.Normal(torch.zeros(1), 1.0).to_event(1)
            self.predict(
                dist.GaussianHMM(unit, torch.eye(1), unit, torch.eye(1), unit, duration=covariates.size(-2)),
                torch.ones(covariates.size(-2), 1),
            )

    model = Level()
    x = torch.tensor([1.0, 2.5, 2.0, 4.0])
    times = torch.arange(1.0, 7.0)
    covariance = torch.minimum(times[:, None], times) + 1.0 + torch.eye(6)
    gain = covariance[4:, :4] @ covariance[:4, :4].inverse()
    with PrefixConditionMessenger(model.seen), ember.poutine.trace() as tr:
        assert model(x.unsqueeze(-1), torch.empty(6, 0)).shape == (2, 1)
    ember.set_rng_seed(0)
    # What is drawn is a residual: the prediction is 1.
    drawn = 1.0 + tr.trace.nodes["residual"]["fn"].sample((20_000,)).flatten(1)
    torch.testing.assert_close(drawn.mean(0), 1.0 + gain @ (x - 1.0), atol=0.04, rtol=0)
    torch.testing.assert_close(
        drawn.T.cov(), covariance[4:, 4:] - gain @ covariance[:4, 4:], atol=0.09, rtol=0
    )
    assert model.seen == {}


def test_all_rows_are_forecast_after_steps_on_a_part() -> None:
    x = torch.arange(6.0).reshape(6, 1, 1) * 10 + torch.zeros(6, 12, 1)
    ember.clear_param_store()
    ember.set_rng_seed(0)
    forecaster = Forecaster(
        Subsampled(), x, NONE[:12], num_steps=3000, learning_rate=0.1, log_every=0, **SUBSAMPLED
    )
    drawn = forecaster(x, NONE[:13], 200)
    assert drawn.shape == (200, 6, 1, 1)
    assert drawn.median(0).values.flatten().tolist() == pytest.approx([0, 10, 20, 30, 40, 50], abs=2.5)


def test_particles_and_batches_of_draws() -> None:
    batch, x, _ = data()
    forecaster = fitted(Batch(), batch, steps=2, num_particles=3)
    assert forecaster.max_plate_nesting == 3 and forecaster(batch, NONE, 4).shape == (4, 1, 3, 6, 2)
    forecaster = fitted(Walk(), x, steps=2, num_particles=3, vectorize_particles=False)
    assert forecaster(x, NONE, 5, batch_size=2).shape == (5, 6, 1)
    assert forecaster(x, NONE[:20], 5).shape[-2:] == (0, 1)
    assert not forecaster(x, NONE, 2).requires_grad


@pytest.mark.parametrize("kind", [AutoDelta, AutoMultivariateNormal])
def test_a_guide_of_the_users_own(kind: type) -> None:
    _, x, _ = data()
    model = Walk()
    forecaster = fitted(model, x.double(), NONE.double(), steps=3, guide=kind(model))
    assert forecaster(x.double(), NONE.double(), 3).dtype == torch.float64


def test_without_steps_and_in_a_file() -> None:
    _, x, _ = data()
    forecaster = fitted(Walk(), x, steps=0)
    assert forecaster.losses == [] and forecaster.svi is None
    forecaster = fitted(Walk(), x, steps=3)
    again = pickle.loads(pickle.dumps(forecaster))
    drawn = []
    for one in (forecaster, again):
        ember.set_rng_seed(3)
        drawn.append(one(x, NONE, 2))
    assert torch.equal(*drawn)


def test_a_warm_start_goes_on_from_a_shorter_time() -> None:
    _, x, covariates = data()
    fitted(Regression(), x[:12], covariates, steps=30)
    before = {name: value.detach().clone() for name, value in ember.get_param_store().items()}
    Forecaster(Regression(), x, covariates[:20], num_steps=0, warm_start=True)
    for name, value in ember.get_param_store().items():
        known = before[name]
        torch.testing.assert_close(value[:12] if "drift_" in name and known.dim() else value, known)
    assert ember.get_param_store()["AutoNormal.locs.drift_decentered"].shape == (20, 1)


def test_what_is_wrong_is_named() -> None:
    _, x, _ = data()
    for message, wrong in {
        "as many times, got 20 and 26": lambda: Forecaster(Walk(), x, NONE),
        "no times": lambda: Forecaster(Walk(), x[:0], NONE[:0]),
        r"shapes \(20,\) and \(20, 0\); unsqueeze": lambda: Forecaster(Walk(), x[:, 0], NONE[:20]),
        "num_steps": lambda: Forecaster(Walk(), x, NONE[:20], num_steps=-1),
        "num_samples is positive": lambda: fitted(Walk(), x, steps=0)(x, NONE, 0),
        "batch_size is positive": lambda: fitted(Walk(), x, steps=0)(x, NONE, 2, batch_size=0),
        "covariates of 4 only": lambda: fitted(Walk(), x, steps=0)(x, NONE[:4], 2),
        "outside of .model": lambda: Walk().predict(dist.Normal(0.0, 1.0), x),
        "time_plate accessed": lambda: Walk().time_plate,
    }.items():
        with pytest.raises(AssertionError, match=message):
            wrong()
    with pytest.raises(ValueError, match="unknown time_reparam: fft"):
        fitted(Walk(), x, time_reparam="fft")
    with pytest.raises(TypeError, match="abstract"):
        ForecastingModel()  # type: ignore[abstract]
    forecaster = fitted(Walk(), x[:8], steps=2)
    with pytest.warns(UserWarning, match="'steps' was fitted to 8 times, and there are data of 20"):
        assert forecaster(x, NONE, 2).shape == (2, 6, 1)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda model, zeros: None, "was not called"),
        (lambda model, zeros: [model.predict(dist.Normal(0, 1), zeros) for _ in range(2)], "called twice"),
        (lambda model, zeros: model.predict(dist.Normal(0, 1), zeros[:3]), r"all 20 times .* got shape \(3, 1\)"),
        (lambda model, zeros: model.predict(1.0, zeros), "a distribution, got float"),
        (lambda model, zeros: model.predict(dist.Normal(0, 1), 1.0), "a tensor, got float"),
        (
            lambda model, zeros: model.predict(
                dist.GaussianHMM(*[dist.MultivariateNormal(torch.zeros(1), torch.eye(1)), torch.eye(1)] * 2,
                    dist.MultivariateNormal(torch.zeros(1), torch.eye(1))), zeros
            ),
            "duration=",
        ),
    ],
)  # fmt: skip
def test_a_model_that_does_not_predict(predict, message: str) -> None:
    class Wrong(ForecastingModel):
        def model(self, zero_data, covariates):
            predict(self, zero_data)

    with ember.poutine.trace(), pytest.raises(AssertionError, match=message):
        Wrong()(torch.zeros(20, 1), NONE[:20])


def test_cosines_of_more_than_128_times_have_no_c() -> None:
    x = torch.zeros(129, 1)
    for size in (128, 129):
        with settings.context(compile=True, backend="native"):
            expect = pytest.raises(CaptureError, match="complex64") if size == 129 else nullcontext()
            with expect:
                ember.clear_param_store()
                Forecaster(
                    Walk(), x[:size], torch.empty(size, 0), num_steps=3, log_every=0, time_reparam="haar"
                )
