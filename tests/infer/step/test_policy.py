"""One answer to a loss or a gradient that is not finite: the same by Python, in a captured step, and in a loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import ember
import ember.distributions as dist
from ember import optim
from ember.errors import NonFiniteLossError
from ember.infer import SVI, Trace_ELBO

pytestmark = pytest.mark.usefixtures("float64")

SWITCH = torch.tensor(0.0)


def guide() -> None:
    ember.sample("z", dist.Normal(ember.param("loc", torch.tensor(0.5)), 0.1))


def loss_is_nan() -> None:
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.factor("bad", torch.where(SWITCH > 0, z + math.nan, z * 0.0))


def loss_is_infinite() -> None:
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.factor("bad", torch.where(SWITCH > 0, z * 0.0 - math.inf, z * 0.0))


def gradient_is_nan() -> None:
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    # d/dz sqrt(a) at a = 0 is infinite; times a derivative of zero it is NaN, while the value is 0.
    inner = torch.where(SWITCH > 0, z * 0.0, z * 0.0 + 1.0)
    ember.factor("bad", inner.sqrt() * 0.0)


MODELS: list[Callable[[], None]] = [loss_is_infinite, gradient_is_nan]
WAYS = ["eager step", "captured step", "captured run", "eager run", "captured by torch"]


def new(model: Callable[[], None], how: str) -> SVI:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    SWITCH.fill_(0.0)
    rule: Any = optim.Adam({"lr": 0.05})
    if how == "captured by torch":
        rule = optim.Adafactor({"lr": 0.05})
    backend: Any = "native" if how.startswith("captured") else None
    return SVI(model, guide, rule, Trace_ELBO(), compile=how.startswith("captured"), backend=backend)


def take(svi: SVI, how: str, num_steps: int, **options: Any) -> Any:
    if "run" in how:
        return svi.run(num_steps, progress=False, **options)
    return [svi.step() for _ in range(num_steps)]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_bad_step_raises_and_changes_nothing(model: Callable[[], None], how: str) -> None:
    svi = new(model, how)
    take(svi, how, 6)
    before, state = ember.param("loc").item(), str(svi.optim.get_state())
    SWITCH.fill_(1.0)
    for _ in range(2):
        with pytest.raises(
            NonFiniteLossError, match="loss is inf" if model is loss_is_infinite else "gradient is not finite"
        ):
            take(svi, how, 3)
        assert ember.param("loc").item() == before and str(svi.optim.get_state()) == state
    SWITCH.fill_(0.0)
    take(svi, how, 3)
    assert ember.param("loc").item() != before


@pytest.mark.parametrize("how", ["captured run", "eager run"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_stable_runs_leave_bad_steps_out(model: Callable[[], None], how: str) -> None:
    svi = new(model, how)
    SWITCH.fill_(1.0)
    start = take(svi, how, 5, stable=True)
    assert start.num_skipped == 5 and ember.param("loc").item() == 0.5
    SWITCH.fill_(0.0)
    assert take(svi, how, 6, stable=True).num_skipped == 0
    before = ember.param("loc").item()
    SWITCH.fill_(1.0)
    result = take(svi, how, 7, stable=True)
    assert result.num_skipped == 7 and result.num_steps == 7
    assert ember.param("loc").item() == before


@pytest.mark.parametrize("how", ["eager step", "captured step", "captured run"])
def test_pyros_answer_is_a_warning(how: str) -> None:
    with ember.settings.context(nonfinite_loss="warn"), ember.validation_enabled(False):
        svi = new(loss_is_nan, how)
        take(svi, how, 6)
        SWITCH.fill_(1.0)
        before = ember.param("loc").item()
        with pytest.warns(UserWarning, match="Encountered NaN: loss"):
            take(svi, how, 1)
        assert ember.param("loc").item() != before


def test_the_error_names_the_parameter_of_a_bad_gradient() -> None:
    svi = new(gradient_is_nan, "eager step")
    SWITCH.fill_(1.0)
    with pytest.raises(NonFiniteLossError, match="at parameter 'loc': its gradient is not finite"):
        svi.step()


@pytest.mark.parametrize("how", ["captured run", "eager run"])
def test_data_of_nan_is_left_out_from_the_first_step_on(how: str) -> None:
    data = torch.tensor([0.1, math.nan])

    def model() -> None:
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 2):
            ember.sample("x", dist.Normal(z, 1.0), obs=data)

    svi = new(model, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = take(svi, how, 6, stable=True)
    assert result.num_skipped == 6
