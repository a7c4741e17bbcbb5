"""Schedules over the whole table: the rates of torch, one schedule a parameter, no warnings."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR

from ember import optim
from ember.optim.lr_scheduler import PyroLRScheduler

from .tables import SCHEDULES, Schedule
from .training import give_gradient, leaves

SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind.__name__)
SGD = {"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1, "momentum": 0.9}}

# SequentialLR passes an epoch to the schedules that it holds, which torch itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")


def plain_schedule(schedule: Schedule, param: torch.Tensor) -> tuple[Any, Any]:
    optimizer = torch.optim.SGD([param], lr=0.1, momentum=0.9, foreach=False)
    options = dict(schedule.options)
    if "schedulers" in options:
        options["schedulers"] = [make(optimizer) for make in options["schedulers"]]
    return optimizer, schedule.kind(optimizer=optimizer, **options)


@SCHEDULE
def test_rates_and_steps_are_those_of_torch(schedule: Schedule) -> None:
    params, expected = leaves(), leaves()
    options = {**SGD, **schedule.options}
    scheduler = PyroLRScheduler(schedule.kind, options)
    assert options.keys() == {**SGD, **schedule.options}.keys()
    plain = [plain_schedule(schedule, param) for param in expected]
    for epoch in range(12):
        # The last parameter, and with it its schedule, starts late.
        known = len(params) if epoch >= 4 else len(params) - 1
        for step in range(2):
            give_gradient(params[:known], 2 * epoch + step)
            give_gradient(expected[:known], 2 * epoch + step)
            scheduler(params[:known])
            for optimizer, _ in plain[:known]:
                optimizer.step()
        metric = (1.0 + epoch % 3,) if schedule.metric else ()
        scheduler.step(*metric)
        for _, each in plain[:known]:
            each.step(*metric)
        for param, other, (optimizer, _) in zip(params[:known], expected, plain, strict=False):
            torch.testing.assert_close(param, other, rtol=1e-12, atol=1e-12)
            own = scheduler.optim_objs[param].optimizer.state_dict()["param_groups"][0]
            assert own["lr"] == optimizer.param_groups[0]["lr"]
            assert own["momentum"] == optimizer.param_groups[0]["momentum"]


def test_the_rate_can_be_read_where_programs_read_it() -> None:
    params = leaves()
    scheduler = optim.ExponentialLR({**SGD, "gamma": 2.0})
    for epoch in range(3):
        give_gradient(params, epoch)
        scheduler(params)
        lr = scheduler.optim_objs[params[0]].optimizer.state_dict()["param_groups"][0]["lr"]
        assert lr == 0.1 * 2.0**epoch
        scheduler.step()


def test_per_parameter_rates_of_the_inner_optimizer(store: Any) -> None:
    store["a"], store["b"] = torch.zeros(2), torch.zeros(2)
    params = [leaf for _, leaf in store.named_parameters()]
    scheduler = PyroLRScheduler(
        ExponentialLR,
        {
            "optimizer": torch.optim.Adam,
            "optim_args": lambda name: {"lr": 0.1 if name == "a" else 0.2},
            "gamma": 0.5,
        },
    )
    give_gradient(params, 0)
    scheduler(params)
    scheduler.step()
    rates = [scheduler.optim_objs[param].optimizer.param_groups[0]["lr"] for param in params]
    assert rates == [0.05, 0.1]


def test_a_rate_held_in_a_tensor_is_each_parameters_own() -> None:
    params = leaves()
    lr = torch.tensor(1.0)
    scheduler = PyroLRScheduler(
        ExponentialLR, {"optimizer": torch.optim.Adam, "optim_args": {"lr": lr}, "gamma": 0.5}
    )
    give_gradient(params, 0)
    scheduler(params)
    scheduler.step()
    rates = [float(scheduler.optim_objs[param].optimizer.param_groups[0]["lr"]) for param in params]
    assert rates == [0.5] * len(params)
    assert float(lr) == 1.0


def test_a_schedule_stepped_before_its_optimizer_still_warns() -> None:
    param = leaves()[0]
    scheduler = PyroLRScheduler(ExponentialLR, {**SGD, "gamma": 0.5})
    scheduler.plan([param])
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


def test_the_right_order_does_not_warn() -> None:
    param = leaves()[0]
    scheduler = PyroLRScheduler(ExponentialLR, {**SGD, "gamma": 0.5})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(3):
            give_gradient([param], step)
            scheduler([param])
            scheduler.step()


def test_clipping_comes_before_the_step() -> None:
    param = torch.zeros(2, requires_grad=True)
    scheduler = optim.StepLR(
        {"optimizer": torch.optim.SGD, "optim_args": {"lr": 1.0}, "step_size": 1}, {"clip_value": 0.5}
    )
    param.grad = torch.tensor([3.0, -3.0])
    scheduler([param])
    assert param.tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("missing", ["optimizer", "optim_args"])
def test_missing_parts_are_named(missing: str) -> None:
    options = {key: value for key, value in SGD.items() if key != missing}
    with pytest.raises(KeyError, match=missing):
        optim.ExponentialLR({**options, "gamma": 0.5})


def test_the_bases_have_no_schedule() -> None:
    for factory in (optim.LRScheduler, optim._LRScheduler):
        scheduler = factory(SGD)
        with pytest.raises(NotImplementedError):
            scheduler(leaves()[:1])
        assert len(scheduler.optim_objs) == 0


def test_is_scheduler() -> None:
    optimizer = torch.optim.SGD(leaves(), lr=0.1)
    assert not optim.is_scheduler(optimizer)
    assert optim.is_scheduler(ExponentialLR(optimizer, 0.5))
