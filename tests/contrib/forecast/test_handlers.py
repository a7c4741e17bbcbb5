"""Handlers that go on in time, and the names of the drop-in."""

from __future__ import annotations

import importlib

import pytest
import torch

import ember
import ember.distributions as dist
from ember.contrib.forecast.util import (
    MarkDCTParamMessenger,
    PrefixConditionMessenger,
    PrefixReplayMessenger,
    PrefixWarmStartMessenger,
    time_reparam_dct,
    time_reparam_haar,
)
from ember.nn import PyroModule, PyroParam


def walk(times: int, rows: int = 1) -> None:
    ember.sample("scale", dist.LogNormal(0.0, 1.0))
    with ember.plate("rows", rows, dim=-2), ember.plate("time", times, dim=-1):
        ember.sample("step", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def test_what_a_guide_has_drawn_is_the_beginning() -> None:
    first = ember.poutine.trace(walk).get_trace(5)
    with PrefixReplayMessenger(first):
        whole = ember.poutine.trace(walk).get_trace(8)
    assert torch.equal(whole.nodes["step"]["value"][:, :5], first.nodes["step"]["value"])
    assert whole.nodes["step"]["value"].shape == (1, 8, 2)
    assert whole.nodes["scale"]["value"] is first.nodes["scale"]["value"]
    for wrong in (lambda: walk(3), lambda: walk(8, rows=2)):
        with pytest.raises(
            AssertionError, match=r"site 'step': values of shape \(1, 5, 2\) are no beginning"
        ):
            PrefixReplayMessenger(first)(wrong)()


def test_a_site_that_has_a_value_is_not_conditioned() -> None:
    x = torch.zeros(4, 1)
    with PrefixConditionMessenger({"x": x[:2]}), pytest.raises(AssertionError, match="site 'x' has a value"):
        ember.sample("x", dist.Normal(x, 1.0).to_event(2), obs=x)


def test_parameters_over_a_longer_time() -> None:
    ember.clear_param_store()
    positive = dist.constraints.positive
    ember.param("scale", torch.tensor([[1.0], [2.0]]), constraint=positive, event_dim=1)
    ember.param("same", torch.ones(2))
    with PrefixWarmStartMessenger():
        scale = ember.param("scale", lambda: torch.full((3, 1), 5.0), constraint=positive, event_dim=1)
        assert torch.equal(ember.param("same", torch.zeros(2)), torch.ones(2))
        assert torch.equal(ember.param("same"), torch.ones(2))
        assert ember.param("new", torch.zeros(3)).shape == (3,)
        with pytest.raises(AssertionError, match=r"param 'same': values of shape \(2,\) are no beginning"):
            ember.param("same", torch.zeros(1))
    torch.testing.assert_close(scale.detach(), torch.tensor([[1.0], [2.0], [5.0]]))
    assert ember.get_param_store().constraint("scale") is positive


def test_attributes_of_modules_over_a_longer_time() -> None:
    class Level(PyroModule):
        def forward(self, size: int) -> torch.Tensor:
            if not hasattr(self, "level"):
                self.level = PyroParam(torch.zeros(size), event_dim=1)
            return self.level

    ember.clear_param_store()
    with torch.no_grad():
        Level()(2).add_(7.0)
    longer = Level()
    with PrefixWarmStartMessenger():
        assert longer(4).tolist() == [7.0, 7.0, 0.0, 0.0]
    assert longer(4).tolist() == [7.0, 7.0, 0.0, 0.0]
    assert longer.level_unconstrained.shape == (4,)


def test_parameters_in_the_time_plate_are_marked() -> None:
    ember.clear_param_store()
    with MarkDCTParamMessenger("time"):
        with ember.plate("rows", 3, dim=-2), ember.plate("time", 5, dim=-1):
            loc = ember.param("loc", torch.zeros(3, 5, 2), event_dim=1)
            simplex = dist.constraints.simplex
            weights = ember.param("weights", torch.full((3, 5, 4), 0.25), constraint=simplex, event_dim=1)
            whole = ember.param("whole", torch.zeros(5))
        free = ember.param("free", torch.zeros(5), event_dim=0)
    assert loc.unconstrained()._pyro_dct_dim == -2
    assert weights.unconstrained()._pyro_dct_dim == -2
    assert not hasattr(whole.unconstrained(), "_pyro_dct_dim")
    assert not hasattr(free.unconstrained(), "_pyro_dct_dim")


@pytest.mark.parametrize(("config", "suffix"), [(time_reparam_dct, "haar"), (time_reparam_haar, "dct")])
def test_coefficients_of_latent_sites_in_the_time_plate(config, suffix: str) -> None:
    """The names are exchanged, as in Pyro 1.9.2."""

    def model() -> torch.Tensor:
        ember.sample("scale", dist.LogNormal(0.0, 1.0))
        with ember.plate("time", 6, dim=-1):
            x = ember.sample("x", dist.Normal(0.0, 1.0))
            ember.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(6))
        return x

    trace = ember.poutine.trace(ember.poutine.reparam(model, config)).get_trace()
    assert list(trace.stochastic_nodes) == ["scale", "time", f"x_{suffix}"]
    assert list(trace.observation_nodes) == ["x", "y"]
    # Volume does not change: the density of the coefficients is that of the values.
    trace.compute_log_prob()
    x = trace.nodes["x"]["value"]
    wanted = dist.Normal(0.0, 1.0).log_prob(x).sum()
    torch.testing.assert_close(trace.nodes[f"x_{suffix}"]["log_prob"].sum(), wanted)


def test_names_under_the_drop_in() -> None:
    import ember.pyro as drop_in

    with drop_in.installed():
        forecast = importlib.import_module("pyro.contrib.forecast")
        forecaster = importlib.import_module("pyro.contrib.forecast.forecaster")
        evaluate = importlib.import_module("pyro.contrib.forecast.evaluate")
        util = importlib.import_module("pyro.contrib.forecast.util")
        assert forecaster.ForecastingModel is forecast.ForecastingModel
        assert forecaster.logger.name == "pyro.contrib.forecast.forecaster"
        assert evaluate.logger.name == "pyro.contrib.forecast.evaluate"
        assert util.transforms is torch.distributions.transforms
        for kind in (forecast.HMCForecaster, forecaster.HMCForecaster):
            with pytest.raises(NotImplementedError, match=r"Instead: pyro.contrib.forecast.Forecaster"):
                kind(None, None)
