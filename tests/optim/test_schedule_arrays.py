"""Schedules known in advance: arrays of rates, and updates that read them; the rates that are in use now."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ember import optim
from ember.errors import CaptureError, OptimizerError
from ember.optim import PyroOptim
from ember.optim.lr_scheduler import PyroLRScheduler
from ember.optim.schedules import advance, rates
from ember.optim.traced import Outdated, TracedUpdate
from ember.params import ParamStoreDict

from .tables import SCHEDULES, Schedule
from .training import give_gradient, leaves

pytestmark = pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
KNOWN = [schedule for schedule in SCHEDULES if not schedule.metric]
ADAM = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}}


def made(schedule: Schedule) -> PyroLRScheduler:
    options = dict(schedule.options)
    if schedule.kind in (torch.optim.lr_scheduler.CyclicLR, torch.optim.lr_scheduler.OneCycleLR):
        options["cycle_momentum"] = False
    return PyroLRScheduler(schedule.kind, {**ADAM, **options})


def rate_of(scheduler: PyroOptim, param: torch.Tensor) -> float:
    return float(scheduler.optim_objs[param].optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("schedule", KNOWN, ids=lambda schedule: schedule.kind.__name__)
def test_the_array_is_what_the_scheduler_does(schedule: Schedule) -> None:
    scheduler, params = made(schedule), leaves()
    for step in range(2):
        give_gradient(params, step)
        scheduler(params)
        scheduler.step()
    before = scheduler.optim_objs[params[0]].state_dict()
    array = rates(scheduler, 9)
    assert scheduler.optim_objs[params[0]].state_dict() == before
    twin = made(schedule)
    for _ in range(2):
        twin(params)
        twin.step()
    expected = []
    for _ in range(9):
        expected.append(rate_of(scheduler, params[0]))
        scheduler(params)
        scheduler.step()
    assert array.tolist() == expected and array.dtype == torch.float64
    advance(twin, 9)
    for param in params:
        assert rate_of(twin, param) == rate_of(scheduler, param)
    assert rates(twin, 5).tolist() == rates(scheduler, 5).tolist()


def test_a_function_of_the_step() -> None:
    assert rates(lambda step: 0.1 / (1 + step), 3).tolist() == [0.1, 0.05, 0.1 / 3]


def test_what_is_not_known_in_advance_is_refused(store: ParamStoreDict) -> None:
    scheduler = optim.ReduceLROnPlateau({**ADAM})
    with pytest.raises(OptimizerError, match="no parameter yet"):
        rates(scheduler, 3)
    params = leaves()
    scheduler(params)
    with pytest.raises(OptimizerError, match="waits for losses"):
        rates(scheduler, 3)
    cyclic = optim.OneCycleLR({**ADAM, "max_lr": 0.2, "total_steps": 20})
    cyclic(params)
    with pytest.raises(OptimizerError, match="momentum"):
        rates(cyclic, 3)
    store["a"], store["b"] = torch.zeros(1), torch.zeros(1)
    named = [leaf for _, leaf in store.named_parameters()]
    each = optim.ExponentialLR(
        {"optimizer": torch.optim.SGD, "optim_args": lambda name: {"lr": 1.0 + (name == "a")}, "gamma": 0.5}
    )
    each(named)
    with pytest.raises(OptimizerError, match="different learning rates"):
        rates(each, 3)


@pytest.mark.parametrize("skipped", [(), (2,), (0, 3)])
def test_an_update_reads_its_rates_from_an_array(skipped: tuple[int, ...]) -> None:
    eager, expected = optim.ExponentialLR({**ADAM, "gamma": 0.7}), leaves()
    recorded, params = optim.ExponentialLR({**ADAM, "gamma": 0.7}), leaves()
    for optimizer, group in ((eager, expected), (recorded, params)):
        give_gradient(group, 0)
        optimizer(group)
        optimizer.step()
    update = TracedUpdate(recorded.plan(params), rates(recorded, 5))
    for step in range(5):
        give_gradient(params, step)
        grads = [param.grad for param in params]
        with torch.no_grad():
            good = torch.tensor(step not in skipped)
            update.apply([param.detach() for param in params], grads, update.tensors, good)
        if step not in skipped:
            give_gradient(expected, step)
            eager(expected)
            eager.step()
    update.write_back()
    for param, other in zip(params, expected, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12)
    advance(recorded, 5 - len(skipped))
    assert rate_of(recorded, params[0]) == rate_of(eager, expected[0])
    update.follow_schedule(torch.full((2,), 0.3, dtype=torch.float64))
    with torch.no_grad():
        update.apply([param.detach() for param in params], [p.grad for p in params], update.tensors)
    torch.testing.assert_close(update.tensors[-1], torch.tensor(1))
    with pytest.raises(ValueError, match="fewer"):
        update.follow_schedule(torch.ones(6))


def test_a_function_of_the_step_as_an_array() -> None:
    recorded, params = optim.SGD({"lr": 9.0}), leaves()
    give_gradient(params, 0)
    recorded(params)
    update = TracedUpdate(recorded.plan(params), rates(lambda step: 0.1 * step, 3))
    expected = [param.detach().clone() for param in params]
    for step in range(4):
        give_gradient(params, step)
        with torch.no_grad():
            update.apply([param.detach() for param in params], [p.grad for p in params], update.tensors)
        for value, param in zip(expected, params, strict=True):
            value -= 0.1 * min(step, 2) * param.grad  # type: ignore[operator]
    torch.testing.assert_close([param.detach() for param in params], expected)
    update.write_back()
    assert recorded.optim_objs[params[0]].param_groups[0]["lr"] == 0.2
    assert update.outdated(recorded.records) is None


def test_a_rule_that_decays_its_own_rate_takes_no_array() -> None:
    params = leaves()
    give_gradient(params, 0)
    for decay in (1.0, 0.9):
        optimizer = optim.ClippedAdam({"lr": 0.1, "lrd": decay})
        optimizer(params)
        if decay == 1.0:
            TracedUpdate(optimizer.plan(params), torch.ones(3, dtype=torch.float64))
        else:
            with pytest.raises(CaptureError, match="lrd"):
                TracedUpdate(optimizer.plan(params), torch.ones(3, dtype=torch.float64))


def test_a_scheduler_that_is_stepped_asks_for_no_new_recording() -> None:
    scheduler, params = optim.StepLR({**ADAM, "step_size": 2}), leaves()
    give_gradient(params, 0)
    scheduler(params)
    update = TracedUpdate(scheduler.plan(params))
    for _ in range(5):
        scheduler.step()
        assert update.outdated(scheduler.records) is None
        assert float(update.tensors[-1]) == rate_of(scheduler, params[0])
    scheduler.optim_objs[params[0]].optimizer.param_groups[0]["lr"] = 5.0
    assert update.outdated(scheduler.records) is Outdated.OPTIONS


@pytest.mark.parametrize("kind", ["Adam", "ClippedAdam", "AdagradRMSProp", "ExponentialLR"])
def test_the_rates_in_use_by_name(kind: str, store: ParamStoreDict) -> None:
    store["a"], store["b"] = torch.zeros(2), torch.zeros(2)
    params = [leaf for _, leaf in store.named_parameters()]
    options: dict[str, Any] = {
        "Adam": {"lr": 0.1},
        "ClippedAdam": {"lr": 0.1, "lrd": 0.5},
        "AdagradRMSProp": {},
        "ExponentialLR": {**ADAM, "gamma": 0.5},
    }[kind]
    optimizer = getattr(optim, kind)(options)
    assert optimizer.get_lr() == {}
    give_gradient(params, 0)
    optimizer(params)
    if kind == "ExponentialLR":
        optimizer.step()
    rate = {"Adam": 0.1, "AdagradRMSProp": 0.0}.get(kind, 0.05)
    assert optimizer.get_lr() == {"a": rate, "b": rate}
    shown = optimizer.optim_objs[params[1]]
    getattr(shown, "optimizer", shown).param_groups[0]["lr"] = 0.7
    assert math.isclose(optimizer.get_lr()["b"], 0.7)
