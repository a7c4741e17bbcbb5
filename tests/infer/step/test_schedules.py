"""A scheduler that is stepped after every step of a run: the same numbers by Python and in a captured loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import zoo

import ember
from ember import optim
from ember.errors import OptimizerError
from ember.infer import SVI, Trace_ELBO

pytestmark = pytest.mark.usefixtures("float64")


def exponential() -> optim.PyroLRScheduler:
    return optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.95})


def fitted(
    how: str, backend: Any = "native"
) -> tuple[list[float], dict[str, torch.Tensor], dict[str, float]]:
    known = zoo.normal_normal()
    ember.clear_param_store()
    ember.set_rng_seed(0)
    scheduler = exponential()
    compile = None if how == "run" else False
    svi = SVI(known.model, known.guide, scheduler, Trace_ELBO(), compile=compile, backend=backend)
    losses: list[float] = []
    if how == "by hand":
        for _ in range(60):
            losses.append(svi.step(*known.args))
            scheduler.step()
    else:
        for num_steps in (40, 20):
            losses += svi.run(num_steps, *known.args, progress=False, scheduled=True).losses.tolist()
    if how == "run":
        report = ember.capture.explain(svi)
        assert report.num_captures == 1 and report.captures[0].calls > 50, report
    parameters = {name: leaf.detach().clone() for name, leaf in ember.get_param_store().named_parameters()}
    return losses, parameters, scheduler.get_lr()


@pytest.mark.parametrize("how", ["eager run", "run"])
def test_rates_of_a_run_are_those_of_a_loop_by_hand(how: str) -> None:
    expected, found = fitted("by hand"), fitted(how)
    assert found[0] == pytest.approx(expected[0], rel=1e-9)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-9, atol=1e-12)
    assert found[2] == pytest.approx(expected[2], rel=1e-12)


def test_an_optimizer_without_a_scheduler_is_refused() -> None:
    known = zoo.normal_normal()
    svi = SVI(known.model, known.guide, optim.Adam({"lr": 0.1}), Trace_ELBO())
    with pytest.raises(OptimizerError, match="scheduled=True needs an optimizer with a scheduler"):
        svi.run(10, *known.args, progress=False, scheduled=True)
