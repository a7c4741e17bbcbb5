"""The factories: every class of torch has one, under its name."""

from __future__ import annotations

import inspect

import pytest
import torch

from ember import optim
from ember.optim import PyroOptim, adagrad_rmsprop, clipped_adam, dct_adam, foreign, pytorch_optimizers
from ember.optim.lr_scheduler import PyroLRScheduler

from .tables import RULES, SCHEDULES

OPTIMIZERS = {
    name: value
    for name, value in vars(torch.optim).items()
    if isinstance(value, type)
    and issubclass(value, torch.optim.Optimizer)
    and value is not torch.optim.Optimizer
}
SCHEDULERS = {
    name: value
    for name, value in vars(torch.optim.lr_scheduler).items()
    if isinstance(value, type) and issubclass(value, torch.optim.lr_scheduler.LRScheduler)
}


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"LBFGS"}))
def test_every_torch_optimizer_has_a_factory(name: str) -> None:
    factory = getattr(optim, name)
    assert getattr(pytorch_optimizers, name) is factory
    instance = factory({}, None)
    assert type(instance) is PyroOptim
    assert instance.pt_optim_constructor is OPTIMIZERS[name]
    assert instance.pt_optim_constructor.__name__ == factory.__name__ == name
    assert list(inspect.signature(factory).parameters) == ["optim_args", "clip_args"]


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_torch_scheduler_has_a_factory(name: str) -> None:
    factory = getattr(optim, name)
    instance = factory({"optimizer": torch.optim.SGD, "optim_args": {"lr": 0.1}})
    assert type(instance) is PyroLRScheduler
    assert instance.pt_scheduler_constructor is SCHEDULERS[name]
    assert instance.pt_optim_constructor is torch.optim.SGD
    assert factory.__name__ == name


def test_the_tables_are_complete() -> None:
    assert set(pytorch_optimizers.__all__) == set(OPTIMIZERS) - {"LBFGS"} | set(SCHEDULERS)
    assert set(OPTIMIZERS.values()) - {torch.optim.LBFGS} == foreign.PARAMETERWISE
    own = {clipped_adam.ClippedAdam, adagrad_rmsprop.AdagradRMSProp, dct_adam.DCTAdam}
    assert {rule.kind for rule in RULES} == foreign.PARAMETERWISE | own
    bases = {torch.optim.lr_scheduler.LRScheduler, torch.optim.lr_scheduler._LRScheduler}
    assert {schedule.kind for schedule in SCHEDULES} == set(SCHEDULERS.values()) - bases


@pytest.mark.parametrize(
    ("factory", "kind"),
    [
        (optim.ClippedAdam, clipped_adam.ClippedAdam),
        (optim.AdagradRMSProp, adagrad_rmsprop.AdagradRMSProp),
        (optim.DCTAdam, dct_adam.DCTAdam),
    ],
)
def test_own_rules_have_factories(factory: object, kind: type[torch.optim.Optimizer]) -> None:
    assert factory({}).pt_optim_constructor is kind  # type: ignore[operator]
    assert list(inspect.signature(factory).parameters) == ["optim_args"]  # type: ignore[arg-type]


def test_all_is_what_there_is() -> None:
    assert all(hasattr(optim, name) for name in optim.__all__)
    assert set(pytorch_optimizers.__all__) < set(optim.__all__)
    assert len(optim.__all__) == len(set(optim.__all__))
